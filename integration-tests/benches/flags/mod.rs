//! The command line of a bench.

use std::collections::BTreeMap;

/// What stands on the command line: each of `valued` with the word behind it, each of `bare` with an empty one. cargo
/// adds `--bench`, which is left out.
///
/// # Errors
/// Names a flag that is not known, or one whose value is missing.
pub(crate) fn read(valued: &[&str], bare: &[&str]) -> Result<BTreeMap<String, String>, String> {
    let mut flags = BTreeMap::new();
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");

    while let Some(word) = words.next() {
        let value = if bare.contains(&word.as_str()) {
            String::new()
        } else if valued.contains(&word.as_str()) {
            words.next().ok_or(format!("{word} needs a value"))?
        } else {
            return Err(format!(
                "not known: {word}; known: {} {}",
                valued.join(" "),
                bare.join(" ")
            ));
        };

        flags.insert(word, value);
    }

    Ok(flags)
}
