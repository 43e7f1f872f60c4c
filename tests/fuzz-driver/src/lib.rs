//! Feeds a parser with changed copies of real inputs, until it panics, takes too long, or the budget is used up.
//!
//! It runs on the stable compiler, inside `cargo test`, beside the parser: so the parser may stay private. Without a
//! setting it tries the same few thousand inputs each time. With `HALLMARK_FUZZ_SECONDS` (see `tests/fuzz`) it goes on for
//! so long, each time with others; `HALLMARK_FUZZ_SEED` repeats one such run.
//!
//! There is no view into the parser as a fuzzer with compiler support has it. In its place the target says what came
//! out: an input with a new outcome is kept, and changed further.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

mod mutate;

use mutate::{Mutator, Random};

/// How many inputs are tried without a setting: well below a second for a parser.
const ITERATIONS: u64 = 2_000;
/// Most inputs that are kept for their outcome.
const MOST_KEPT: usize = 1_024;
/// Longer than any parser takes for inputs of this size, without optimisation, on a busy machine.
const SLOW: Duration = Duration::from_secs(5);

/// One parser to be tried.
pub struct Fuzz {
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
    slow: Duration,
}

/// How long to go on.
enum Budget {
    Iterations(u64),
    Until(Instant),
}

impl Fuzz {
    /// A parser, by a name that is a file's name as well.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self { name, seeds: vec![Vec::new()], words: Vec::new(), slow: SLOW }
    }

    /// Real inputs to begin with.
    #[must_use]
    pub fn seeds<T: AsRef<[u8]>>(mut self, seeds: impl IntoIterator<Item = T>) -> Self {
        self.seeds.extend(seeds.into_iter().map(|seed| seed.as_ref().to_vec()));
        self
    }

    /// Pieces that mean something to the parser.
    #[must_use]
    pub fn words(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|word| word.as_bytes().to_vec()));
        self
    }

    /// Tries inputs. The target checks what must hold of each, and gives what came out.
    ///
    /// # Panics
    /// When the target does: the input is then in a file whose name is on standard error. And when one input takes too
    /// long.
    pub fn run<T: Hash>(self, target: impl Fn(&[u8]) -> T) {
        let (seed, budget) = setting();
        let mut random = Random::new(seed ^ hash(&self.name));
        let mut corpus = self.seeds;
        let mut outcomes = HashSet::new();
        for seed in &corpus {
            outcomes.insert(hash(&target(seed)));
        }
        let mutator = Mutator { words: self.words };
        let mut iteration = 0;
        while budget.allows(iteration) {
            iteration += 1;
            let input = mutator.change(&corpus, &mut random);
            let begun = Instant::now();
            let tried = catch_unwind(AssertUnwindSafe(|| hash(&target(&input))));
            let failure = match tried {
                Ok(outcome) => {
                    if corpus.len() < MOST_KEPT && outcomes.insert(outcome) {
                        corpus.push(input.clone());
                    }
                    if begun.elapsed() < self.slow {
                        continue;
                    }
                    Box::new(format!("it took {:?}", begun.elapsed()))
                }
                Err(panic) => panic,
            };
            tell(self.name, seed, iteration, &input);
            resume_unwind(failure);
        }
    }
}

impl Budget {
    fn allows(&self, iteration: u64) -> bool {
        match self {
            Self::Iterations(most) => iteration < *most,
            Self::Until(end) => Instant::now() < *end,
        }
    }
}

/// What the environment says: the seed, and how long.
fn setting() -> (u64, Budget) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let Some(seconds) = number("HALLMARK_FUZZ_SECONDS") else { return (0, Budget::Iterations(ITERATIONS)) };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = number("HALLMARK_FUZZ_SEED").unwrap_or(since.as_secs());
    (seed, Budget::Until(Instant::now() + Duration::from_secs(seconds)))
}

fn hash(value: &impl Hash) -> u64 {
    // Without keys, so that the same run is the same run.
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Says which input it was, past the capture of test output, and keeps it.
fn tell(name: &str, seed: u64, iteration: u64, input: &[u8]) {
    let file = std::env::temp_dir().join(format!("hallmark-fuzz-{name}"));
    let kept = std::fs::write(&file, input).is_ok();
    let place = if kept { format!(", kept in {}", file.display()) } else { String::new() };
    let shown = input.get(..input.len().min(2_000)).unwrap_or_default().escape_ascii();
    // Nothing can be done when stderr is closed.
    let _ = writeln!(
        std::io::stderr(),
        "fuzz target `{name}` fails at input {iteration} of seed {seed} ({} bytes{place}):\n{shown}",
        input.len()
    );
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A parser with a mistake that one of its real inputs is two changes away from.
    fn planted(input: &[u8]) -> &'static str {
        let Some(rest) = input.strip_prefix(b"key=") else { return "no key" };
        let Some(first) = rest.first() else { return "no value" };
        if *first != b'"' {
            return "plain";
        }
        let end = rest.iter().skip(1).position(|byte| *byte == b'"');
        // The mistake: a quoted value without an end.
        assert!(end.is_some(), "a planted panic");
        "quoted"
    }

    #[test]
    fn a_planted_panic_is_found_in_the_time_of_a_usual_run() {
        let fuzz = || Fuzz::new("planted").seeds(["key=value", "key=\"value\""]).words(&["\"", "="]);
        let found = catch_unwind(|| fuzz().run(planted));
        let message = found.unwrap_err();
        let message = message.downcast_ref::<&str>().copied().unwrap_or_default();
        assert_eq!(message, "a planted panic");
        // Its twin: without the mistake, the same run ends well.
        fuzz().run(|input| if input.starts_with(b"key=\"") { "quoted" } else { planted(input) });
    }

    #[test]
    fn a_parser_that_takes_too_long_is_found() {
        let found = catch_unwind(|| {
            let calls = Cell::new(0);
            let slow = Duration::from_millis(300);
            Fuzz { slow, ..Fuzz::new("slow") }.seeds(["x"]).run(|_| {
                calls.set(calls.get() + 1);
                if calls.get() == 10 {
                    std::thread::sleep(slow);
                }
            });
        });
        assert!(found.unwrap_err().downcast_ref::<String>().unwrap().starts_with("it took"));
    }

    #[test]
    fn a_usual_run_is_the_same_run_each_time() {
        let run = || {
            let seen = Cell::new(0_u64);
            Fuzz::new("same").seeds(["abc"]).run(|input| {
                seen.set(seen.get().wrapping_mul(31).wrapping_add(hash(&input)));
                input.len()
            });
            seen.get()
        };
        assert_eq!(run(), run());
    }
}
