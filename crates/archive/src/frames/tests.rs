//! Frames against the stock tools, against each other, and against damage.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nxs_base::{Error, ErrorKind, Result};
use proptest::prelude::*;

use super::*;

const CODECS: [Codec; 4] = [Codec::None, Codec::Gzip(1), Codec::Gzip(9), Codec::Zstd(3)];

/// Bytes that compress somewhat and do not repeat.
fn sample(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = (state >> 33) as u32;
        bytes.extend_from_slice(&(word & 0x0f0f_3f3f).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn pack(codec: Codec, workers: usize, plain: &[u8]) -> (Vec<u8>, Vec<FrameRecord>, FrameTotals) {
    let mut stored = Vec::new();
    let mut writer = FrameWriter::new(codec, workers, |bytes: &mut Vec<u8>| {
        stored.extend_from_slice(bytes);
        Ok(())
    })
    .unwrap();
    for piece in plain.chunks(100_003) {
        writer.write(piece).unwrap();
    }
    let (frames, _, totals) = writer.finish().unwrap();
    (stored, frames, totals)
}

fn read_streaming(codec: Codec, stored: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    FrameReader::new(codec, stored)?.read_to_end(&mut plain).map_err(|e| Error::from_io("cannot read", e))?;
    Ok(plain)
}

fn read_parallel(codec: Codec, frames: &[FrameRecord], stored: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    ParallelReader::new(codec, frames.to_vec(), 2, io::Cursor::new(stored.to_vec()))?
        .read_to_end(&mut plain)
        .map_err(|e| Error::from_io("cannot read", e))?;
    Ok(plain)
}

fn pipe(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{program} {arguments:?} ended with {}", output.status);
    output.stdout
}

#[test]
fn stock_tools_read_what_the_writer_wrote() {
    let plain = sample(5_000_000, 7);
    for (codec, program) in [(Codec::Gzip(6), "gzip"), (Codec::Gzip(10), "gzip"), (Codec::Zstd(3), "zstd")] {
        let (stored, frames, _) = pack(codec, 2, &plain);
        assert!(frames.len() > 1, "{codec:?} made one frame");
        assert!(pipe(program, &["-dc"], &stored) == plain, "{program} -dc differs for {codec:?}");
    }
}

#[test]
fn an_empty_input_gives_a_valid_empty_stream() {
    for (codec, program) in [(Codec::Gzip(6), "gzip"), (Codec::Zstd(3), "zstd")] {
        let (stored, frames, totals) = pack(codec, 2, b"");
        assert!(!stored.is_empty());
        assert_eq!(pipe(program, &["-dc"], &stored), b"");
        assert_eq!((frames.len(), totals.plain_bytes, totals.frames), (1, 0, 1));
        assert_eq!(read_streaming(codec, &stored).unwrap(), b"");
        assert_eq!(read_parallel(codec, &frames, &stored).unwrap(), b"");
    }
    let (stored, frames, totals) = pack(Codec::None, 2, b"");
    assert_eq!((stored.len(), frames.len(), totals), (0, 0, FrameTotals::default()));
}

#[test]
fn streams_of_stock_tools_are_read() {
    let plain = sample(700_000, 3);
    let half = plain.len() / 2;
    let mut two_members = pipe("gzip", &["-1"], &plain[..half]);
    two_members.extend(pipe("gzip", &["-9"], &plain[half..]));
    assert!(read_streaming(Codec::Gzip(6), &two_members).unwrap() == plain);
    assert!(read_streaming(Codec::Gzip(6), &pipe("gzip", &[], &plain)).unwrap() == plain);
    let mut two_frames = pipe("zstd", &["-1", "-c"], &plain[..half]);
    two_frames.extend(pipe("zstd", &["-c", "--long=24"], &plain[half..]));
    assert!(read_streaming(Codec::Zstd(3), &two_frames).unwrap() == plain);
}

#[test]
fn the_bytes_do_not_depend_on_the_number_of_workers() {
    let plain = sample(9_000_000, 5);
    for codec in CODECS {
        let one = pack(codec, 1, &plain);
        assert!(one == pack(codec, 4, &plain), "{codec:?}");
        assert!(one == pack(codec, 0, &plain), "{codec:?}");
    }
}

#[test]
fn gzip_members_carry_no_time_and_zstd_frames_their_size_and_a_checksum() {
    let (gzip, frames, _) = pack(Codec::Gzip(6), 2, &sample(3_000_000, 1));
    for frame in &frames {
        let member = &gzip[frame.stored_offset as usize..];
        assert_eq!(member[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0], "magic, deflate, no flags, mtime 0");
    }
    let (zstd, frames, _) = pack(Codec::Zstd(3), 2, &sample(3_000_000, 1));
    for frame in &frames {
        let bytes = &zstd[frame.stored_offset as usize..];
        assert_eq!(bytes[4] & 0b100, 0b100, "checksum flag");
        let size = zstd::zstd_safe::get_frame_content_size(bytes).unwrap();
        assert_eq!(size, Some(u64::from(frame.plain_bytes)));
    }
}

#[test]
fn the_table_covers_both_streams_without_gaps() {
    let plain = sample(9_000_000, 11);
    for codec in CODECS {
        let (stored, frames, totals) = pack(codec, 2, &plain);
        let (mut stored_at, mut plain_at) = (0, 0);
        for frame in &frames {
            assert_eq!((frame.stored_offset, frame.plain_offset), (stored_at, plain_at));
            assert!(frame.plain_bytes as usize <= codec.frame_bytes());
            let bytes = &stored[stored_at as usize..frame.stored_end() as usize];
            let decoded = decode_frame(codec, frame, bytes.to_vec()).unwrap();
            assert!(decoded == plain[plain_at as usize..frame.plain_end() as usize]);
            (stored_at, plain_at) = (frame.stored_end(), frame.plain_end());
        }
        assert_eq!((stored_at, plain_at), (stored.len() as u64, plain.len() as u64));
        assert_eq!((totals.stored_bytes, totals.plain_bytes), (stored_at, plain_at));
        assert_eq!(totals.frames, frames.len() as u64);
        assert!(read_streaming(codec, &stored).unwrap() == plain);
        assert!(read_parallel(codec, &frames, &stored).unwrap() == plain);
    }
}

#[test]
fn a_range_of_the_table_reads_a_range_of_the_stream() {
    let plain = sample(9_000_000, 13);
    let (stored, frames, _) = pack(Codec::Zstd(1), 2, &plain);
    let part = &frames[1..3];
    let decoded = read_parallel(Codec::Zstd(1), part, &stored[part[0].stored_offset as usize..]).unwrap();
    assert!(decoded == plain[part[0].plain_offset as usize..part[1].plain_end() as usize]);
}

#[test]
fn a_hint_cuts_only_a_frame_that_is_nearly_full() {
    let codec = Codec::Zstd(3);
    let full = codec.frame_bytes();
    let mut writer = FrameWriter::new(codec, 2, |_: &mut Vec<u8>| Ok(())).unwrap();
    writer.cut_here().unwrap();
    writer.write(&sample(full / 16 * 15 - 1, 1)).unwrap();
    writer.cut_here().unwrap();
    writer.write(b"x").unwrap();
    writer.cut_here().unwrap();
    writer.cut_here().unwrap();
    writer.write(&sample(full + 5, 2)).unwrap();
    assert_eq!(writer.plain_bytes(), (full / 16 * 15 + full + 5) as u64);
    let (frames, _, _) = writer.finish().unwrap();
    let lengths: Vec<_> = frames.iter().map(|frame| frame.plain_bytes as usize).collect();
    assert_eq!(lengths, [full / 16 * 15, full, 5]);
}

#[test]
fn an_error_of_the_taker_is_returned_and_ends_the_writer() {
    let mut writer = FrameWriter::new(Codec::Gzip(1), 2, |_: &mut Vec<u8>| {
        Err(Error::new(ErrorKind::Full, "no room on `there`"))
    })
    .unwrap();
    let block = sample(1 << 20, 1);
    let error = (0..100).find_map(|_| writer.write(&block).err()).expect("100 MiB fit into no queue");
    assert_eq!(error.kind(), ErrorKind::Full);
    assert_eq!(writer.write(b"more").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(writer.finish().err().unwrap().kind(), ErrorKind::Invalid);
}

#[test]
fn an_error_of_the_taker_at_the_end_is_returned_by_finish() {
    let mut writer =
        FrameWriter::new(Codec::None, 2, |_: &mut Vec<u8>| Err(Error::new(ErrorKind::Denied, "no"))).unwrap();
    writer.write(b"little").unwrap();
    assert_eq!(writer.finish().err().unwrap().kind(), ErrorKind::Denied);
}

#[test]
fn dropping_a_writer_unfinished_ends_its_threads() {
    for codec in CODECS {
        let mut writer = FrameWriter::new(codec, 3, |_: &mut Vec<u8>| Ok(())).unwrap();
        writer.write(&sample(12_000_000, 1)).unwrap();
        drop(writer);
    }
}

#[test]
fn at_most_two_frames_more_than_workers_are_under_way() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let codec = Codec::None;
    let mut writer = FrameWriter::new(codec, 2, move |bytes: &mut Vec<u8>| {
        counter.fetch_add(bytes.len(), Ordering::SeqCst);
        Ok(())
    })
    .unwrap();
    let block = sample(1 << 20, 1);
    for _ in 0..64 {
        writer.write(&block).unwrap();
        let held = writer.plain_bytes() as usize - seen.load(Ordering::SeqCst);
        assert!(held <= 5 * codec.frame_bytes(), "{held} bytes are held back");
    }
    assert_eq!(writer.finish().unwrap().2.plain_bytes, 64 << 20);
}

#[test]
fn levels_that_do_not_exist_are_refused() {
    for codec in [Codec::Gzip(0), Codec::Gzip(13), Codec::Zstd(0), Codec::Zstd(20)] {
        let outcome = FrameWriter::new(codec, 1, |_: &mut Vec<u8>| Ok(()));
        assert_eq!(outcome.err().map(|e| e.kind()), Some(ErrorKind::Invalid), "{codec:?}");
    }
}

#[test]
fn cut_streams_are_corrupt_wherever_they_are_cut() {
    let plain = sample(30_000, 2);
    for codec in [Codec::Gzip(6), Codec::Zstd(3)] {
        let (stored, frames, _) = pack(codec, 1, &plain);
        for length in (0..stored.len()).step_by(7).chain([stored.len() - 1]) {
            let kind = read_streaming(codec, &stored[..length]).unwrap_err().kind();
            assert_eq!(kind, ErrorKind::Corrupt, "{codec:?} cut to {length}");
            let error = read_parallel(codec, &frames, &stored[..length]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{codec:?} cut to {length}");
        }
    }
}

#[test]
fn every_flipped_byte_of_a_frame_is_noticed_and_the_frame_is_named() {
    let plain = sample(20_000, 9);
    for codec in CODECS {
        let (stored, frames, _) = pack(codec, 1, &plain);
        for at in 0..stored.len() {
            let mut damaged = stored.clone();
            damaged[at] ^= 0x41;
            match decode_frame(codec, &frames[0], damaged.clone()) {
                // A flag or a time in a header changes no byte of the content.
                Ok(decoded) => assert!(at < 10 && decoded == plain, "{codec:?} byte {at}"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt);
                    assert!(error.to_string().contains("the frame at stored byte 0"), "{error}");
                }
            }
            if let Err(error) = read_streaming(codec, &damaged) {
                assert_eq!(error.kind(), ErrorKind::Corrupt);
            }
        }
    }
}

#[test]
fn a_frame_table_that_lies_is_corrupt() {
    let plain = sample(6_000_000, 4);
    let codec = Codec::Zstd(3);
    let (stored, frames, _) = pack(codec, 2, &plain);
    let lies: [fn(&mut Vec<FrameRecord>); 7] = [
        |t| t[1].hash[3] ^= 1,
        |t| t[1].plain_bytes = u32::MAX,
        |t| t[1].stored_bytes = u32::MAX,
        |t| t[1].plain_bytes -= 1,
        |t| t[1].stored_bytes -= 1,
        |t| t[1].plain_offset += 1,
        |t| t[0].stored_offset = u64::MAX,
    ];
    for (number, lie) in lies.iter().enumerate() {
        let mut table = frames.clone();
        lie(&mut table);
        let error = read_parallel(codec, &table, &stored).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "lie {number}");
    }
}

#[test]
fn bytes_behind_the_last_member_are_corrupt() {
    for codec in [Codec::Gzip(6), Codec::Zstd(3)] {
        let (mut stored, _, _) = pack(codec, 1, &sample(10_000, 1));
        stored.extend_from_slice(b"and more of it");
        assert_eq!(read_streaming(codec, &stored).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

/// Yields some bytes, then an error of the storage.
struct Breaking(Arc<Mutex<Vec<u8>>>);

impl Read for Breaking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut left = self.0.lock().unwrap();
        if left.is_empty() {
            return Err(Error::new(ErrorKind::Timeout, "the storage does not answer").into_io());
        }
        let count = left.len().min(buffer.len()).min(1000);
        buffer[..count].copy_from_slice(&left[..count]);
        left.drain(..count);
        Ok(count)
    }
}

#[test]
fn errors_of_the_source_keep_their_kind() {
    for codec in CODECS {
        let (stored, frames, _) = pack(codec, 2, &sample(50_000, 8));
        let cut = || Breaking(Arc::new(Mutex::new(stored[..stored.len() / 2].to_vec())));
        let mut plain = Vec::new();
        let error = FrameReader::new(codec, cut()).unwrap().read_to_end(&mut plain).unwrap_err();
        assert_eq!(Error::from_io("", error).kind(), ErrorKind::Timeout, "{codec:?}");
        let mut reader = ParallelReader::new(codec, frames, 2, cut()).unwrap();
        let error = reader.read_to_end(&mut plain).unwrap_err();
        assert_eq!(Error::from_io("", error).kind(), ErrorKind::Timeout, "{codec:?}");
        assert!(reader.read(&mut [0; 8]).is_err(), "an error is not followed by an end");
    }
}

#[test]
fn dropping_a_reader_early_ends_its_threads() {
    let (stored, frames, _) = pack(Codec::Zstd(1), 2, &sample(20_000_000, 8));
    let mut reader = ParallelReader::new(Codec::Zstd(1), frames, 2, io::Cursor::new(stored)).unwrap();
    reader.read_exact(&mut [0; 10]).unwrap();
    drop(reader);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(
        pieces in prop::collection::vec((0usize..900_000, any::<u64>(), any::<bool>()), 0..8),
        codec in prop::sample::select(CODECS.to_vec()),
        workers in 1usize..4,
    ) {
        let mut stored = Vec::new();
        let mut plain = Vec::new();
        let mut writer = FrameWriter::new(codec, workers, |bytes: &mut Vec<u8>| { stored.extend_from_slice(bytes); Ok(()) }).unwrap();
        for (length, seed, cut) in pieces {
            let piece = sample(length, seed);
            writer.write(&piece).unwrap();
            plain.extend_from_slice(&piece);
            if cut {
                writer.cut_here().unwrap();
            }
        }
        let (frames, _, totals) = writer.finish().unwrap();
        prop_assert_eq!(totals.plain_bytes, plain.len() as u64);
        prop_assert!(stored.is_empty() && codec == Codec::None || read_streaming(codec, &stored).unwrap() == plain);
        prop_assert!(read_parallel(codec, &frames, &stored).unwrap() == plain);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(noise in prop::collection::vec(any::<u8>(), 0..400), plain_bytes in any::<u32>()) {
        for codec in CODECS {
            if let Err(error) = read_streaming(codec, &noise) {
                prop_assert_eq!(error.kind(), ErrorKind::Corrupt);
            }
            let record = FrameRecord { stored_bytes: noise.len() as u32, plain_bytes, ..FrameRecord::default() };
            if let Err(error) = decode_frame(codec, &record, noise.clone()) {
                prop_assert_eq!(error.kind(), ErrorKind::Corrupt);
            }
        }
    }
}
