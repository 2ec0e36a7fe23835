//! The command line of a bench.

use std::collections::BTreeMap;

/// What stands on it.
#[derive(Debug)]
pub struct Flags(BTreeMap<String, String>);

impl Flags {
    /// Takes each of `valued` with the word behind it, each of `bare` alone, and `--quick`. cargo adds `--bench`, which is left
    /// out.
    ///
    /// # Errors
    /// Names a flag that is not known, or one whose value is missing.
    pub fn read(valued: &[&str], bare: &[&str]) -> Result<Self, String> {
        let mut flags = BTreeMap::new();
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");

        while let Some(word) = words.next() {
            let value = if word == "--quick" || bare.contains(&word.as_str()) {
                String::new()
            } else if valued.contains(&word.as_str()) {
                words.next().ok_or(format!("{word} needs a value"))?
            } else {
                let known = [valued, bare].concat().join(" ");
                return Err(format!("not known: {word}; known: {known} --quick"));
            };

            flags.insert(word, value);
        }

        Ok(Self(flags))
    }

    /// It only matters that it runs.
    #[must_use]
    pub fn is_quick(&self) -> bool {
        self.has("--quick")
    }

    /// It stands there.
    #[must_use]
    pub fn has(&self, flag: &str) -> bool {
        self.0.contains_key(flag)
    }

    /// The word behind it.
    #[must_use]
    pub fn get(&self, flag: &str) -> Option<&str> {
        self.0.get(flag).map(String::as_str)
    }

    /// A number; `usual` where there is none.
    ///
    /// # Errors
    /// Names the flag and the word that is no number.
    pub fn number(&self, flag: &str, usual: usize) -> Result<usize, String> {
        self.get(flag).map_or(Ok(usual), |word| number(flag, word))
    }

    /// Numbers with commas between them; `usual` where there are none.
    ///
    /// # Errors
    /// Names the flag and the word that is no number.
    pub fn numbers(&self, flag: &str, usual: &[usize]) -> Result<Vec<usize>, String> {
        let Some(words) = self.get(flag) else {
            return Ok(usual.to_vec());
        };
        words.split(',').map(|word| number(flag, word)).collect()
    }
}

fn number(flag: &str, word: &str) -> Result<usize, String> {
    word.parse()
        .map_err(|error| format!("{flag}: {word}: {error}"))
}
