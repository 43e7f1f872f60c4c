//! How inputs are changed.

/// Most bytes of an input: parsers that see more have a bound of their own, which other tests hold them to.
const MOST_BYTES: usize = 64 * 1024;
/// Most changes on top of each other.
const MOST_CHANGES: usize = 6;

/// Bytes that separate, quote, nest, end or are out of range somewhere.
const TELLING: &[u8] = b"\0\t\r\n \"\\'/:;,.=<>()[]{}-+*%&#@?0129aAzZ~\x7f\x80\xc3\xe2\xed\xf0\xff";

/// Numbers at whose edges something often changes.
const NUMBERS: [&str; 9] = [
    "0",
    "-1",
    "1e999",
    "255",
    "65536",
    "4294967295",
    "9223372036854775807",
    "18446744073709551616",
    "99999999999999999999999999999999999999",
];

/// A small generator of numbers (SplitMix64): good enough to choose, and the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below a bound; 0 when there is none.
    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    fn choose<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }

    /// A range of some bytes, mostly a short one.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = if self.below(4) == 0 { length - start } else { (length - start).min(16) };
        start..start + self.below(most + 1)
    }
}

/// Changes inputs.
pub(crate) struct Mutator {
    pub(crate) words: Vec<Vec<u8>>,
}

impl Mutator {
    /// One of the inputs, changed a few times.
    pub(crate) fn change(&self, corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
        let mut input = random.choose(corpus).cloned().unwrap_or_default();
        for _ in 0..=random.below(MOST_CHANGES) {
            self.change_once(&mut input, corpus, random);
            input.truncate(MOST_BYTES);
        }
        input
    }

    fn change_once(&self, input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
        let at = random.below(input.len() + 1);
        let range = random.range(input.len());
        match random.below(12) {
            0 => {
                let bit = 1_u8 << random.below(8);
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= bit;
                }
            }
            1 => {
                let telling = random.choose(TELLING).copied().unwrap_or_default();
                if let Some(byte) = input.get_mut(at) {
                    *byte = telling;
                }
            }
            2 => input.insert(at, random.choose(TELLING).copied().unwrap_or_default()),
            3 => drop(input.drain(range)),
            4 => {
                let copy = input.get(range).unwrap_or_default().to_vec();
                input.splice(at..at, copy);
            }
            // The same again and again: what nests or counts is driven to its bound.
            5 => {
                let times = 1 << random.below(12);
                let copy = input.get(range).unwrap_or_default().to_vec();
                input.splice(at..at, copy.repeat(times));
            }
            6 => {
                let word = random.choose(&self.words).cloned().unwrap_or_default();
                input.splice(at..at, word);
            }
            7 => {
                let word = random.choose(&self.words).cloned().unwrap_or_default();
                input.splice(range, word);
            }
            8 => {
                let other = random.choose(corpus).cloned().unwrap_or_default();
                let part = random.range(other.len());
                input.splice(range, other.get(part).unwrap_or_default().to_vec());
            }
            9 => input.truncate(at),
            10 => replace_number(input, random),
            _ => {
                for byte in input.get_mut(range).unwrap_or_default() {
                    *byte ^= 0x20;
                }
            }
        }
    }
}

/// Puts another number in the place of one, or anywhere where there is none.
fn replace_number(input: &mut Vec<u8>, random: &mut Random) {
    let number = random.choose(&NUMBERS).map_or("0", |number| number);
    let from = random.below(input.len() + 1);
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let start = input.iter().skip(from).position(is_digit).map_or(from, |offset| from + offset);
    let length = input.iter().skip(start).take_while(|byte| is_digit(byte)).count();
    input.splice(start..start + length, number.bytes());
}
