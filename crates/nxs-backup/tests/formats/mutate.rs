//! Damage with a plan: seeded mutations of valid input, of the kinds that parsers fall for.

use nxs_testkit::Rng;

/// Makes one case of the seeds; the same numbers make the same case.
pub(crate) fn mutate(seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut data = pick(seeds, rng).clone();
    for _ in 0..=rng.below(4) {
        step(&mut data, seeds, rng);
    }
    data
}

/// Puts right the checksums of all tar headers, so that what is behind them is reached.
pub(crate) fn seal_tar(data: &mut [u8]) {
    for block in data.chunks_exact_mut(512) {
        let is_header = block[257..].starts_with(b"ustar") || block[148..155].iter().all(u8::is_ascii_digit);
        if is_header {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

fn step(data: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut Rng) {
    let length = data.len() as u64;
    let at = rng.below(length) as usize;
    let stretch = (rng.below(64) as usize).min(data.len() - at);
    match rng.below(10) {
        _ if data.is_empty() => data.clone_from(pick(seeds, rng)),
        0 | 1 => data[at] ^= 1 << rng.below(8),
        2 => data[at] = *pick(b"\0\x01\x7f\x80\xff\n =%/.9-", rng),
        3 => data.truncate(at),
        4 => {
            data.drain(at..at + stretch);
        }
        5 => {
            let copy = data[at..at + stretch].to_vec();
            let to = rng.below(length) as usize;
            data.splice(to..to, copy);
        }
        // The beginning of this, the end of that.
        6 => {
            let other = pick(seeds, rng);
            let from = rng.below(other.len() as u64 + 1) as usize;
            data.truncate(at);
            data.extend_from_slice(&other[from..]);
        }
        7 => blow_up_digits(data, at, rng),
        8 => blow_up_bytes(data, at, rng),
        _ => {
            let mut noise = vec![0; stretch];
            rng.fill(&mut noise);
            data.splice(at..at + stretch, noise);
        }
    }
}

/// Replaces the digits at or after `at`, which may be a length, by ones of the same number or by more.
fn blow_up_digits(data: &mut Vec<u8>, at: usize, rng: &mut Rng) {
    let Some(start) = data[at..].iter().position(u8::is_ascii_digit).map(|skip| at + skip) else { return };
    let end = data[start..].iter().position(|b| !b.is_ascii_digit()).map_or(data.len(), |n| start + n);
    let same = *pick(b"01379", rng);
    let number: Vec<u8> = match rng.below(5) {
        0 => vec![same; end - start],
        1 => b"18446744073709551615".to_vec(),
        2 => b"9223372036854775808".to_vec(),
        3 => rng.below(70_000).to_string().into_bytes(),
        _ => b"4294967296".to_vec(),
    };
    data.splice(start..end, number);
}

/// Writes a number that is large, or nearly right, as a varint or little endian.
fn blow_up_bytes(data: &mut Vec<u8>, at: usize, rng: &mut Rng) {
    let value = match rng.below(6) {
        0 => u64::MAX,
        1 => u64::from(u32::MAX),
        2 => 1 << 31,
        3 => 1 << rng.below(64),
        4 => rng.below(70_000),
        _ => data.len() as u64,
    };
    let bytes: Vec<u8> = match rng.below(4) {
        0 => value.to_le_bytes().to_vec(),
        1 => (value as u32).to_le_bytes().to_vec(),
        2 => (value as u16).to_le_bytes().to_vec(),
        _ => (0..10)
            .map(|i| (value >> (7 * i).min(63)) as u8 & 0x7f | 0x80)
            .take(1 + rng.below(9) as usize)
            .chain([value as u8 & 0x7f])
            .collect(),
    };
    let end = data.len().min(at + bytes.len());
    data.splice(at..end, bytes);
}

fn pick<'a, T>(from: &'a [T], rng: &mut Rng) -> &'a T {
    &from[rng.below(from.len() as u64) as usize]
}
