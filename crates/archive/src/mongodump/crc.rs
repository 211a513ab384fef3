//! CRC-64 with the polynomial of ECMA 182, reflected, as `hash/crc64` of Go has it.

const POLYNOMIAL: u64 = 0xc96c_5795_d787_0f42;
const TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut n = 1;
    while n < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[n - 1][byte];
            tables[n][byte] = tables[0][(crc & 0xff) as usize] ^ (crc >> 8);
            byte += 1;
        }
        n += 1;
    }
    tables
}

/// The sum of all that was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Crc64(u64);

impl Crc64 {
    pub fn push(&mut self, bytes: &[u8]) {
        let mut crc = !self.0;
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            let mixed = (crc ^ u64::from_le_bytes(*word)).to_le_bytes();
            crc = (0..8).fold(0, |sum, n| sum ^ TABLES[7 - n][usize::from(mixed[n])]);
        }
        for byte in rest {
            crc = TABLES[0][usize::from(crc as u8 ^ byte)] ^ (crc >> 8);
        }
        self.0 = !crc;
    }

    pub fn sum(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_the_catalogue_however_the_bytes_came() {
        let sum = |pieces: &[&[u8]]| {
            let mut crc = Crc64::default();
            pieces.iter().for_each(|piece| crc.push(piece));
            crc.sum()
        };
        // CRC-64/XZ, whose polynomial and reflection these are.
        assert_eq!(sum(&[b"123456789"]), 0x995d_c9bb_df19_39fa);
        assert_eq!(sum(&[b"1234", b"", b"56789"]), 0x995d_c9bb_df19_39fa);
        assert_eq!(sum(&[]), 0);
        let long: Vec<u8> = (0..1000_u32).map(|n| (n * 7 % 251) as u8).collect();
        let mut one_by_one = Crc64::default();
        long.iter().for_each(|byte| one_by_one.push(&[*byte]));
        assert_eq!(sum(&[&long]), one_by_one.sum());
    }
}
