//! Words into lines, for terminals.

/// Appends `text` to `out`, broken between words so that lines stay within `width` columns: the first
/// line goes on at column `first`, the others are indented by `rest`. A word that is longer than
/// a line stays whole, so that it can be copied.
pub fn paragraph(out: &mut String, text: &str, first: usize, rest: usize, width: usize) {
    let mut column = first;
    let mut fresh = true;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if !fresh && column + 1 + length > width {
            out.push('\n');
            out.push_str(&" ".repeat(rest));
            column = rest;
            fresh = true;
        }
        if !fresh {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
        fresh = false;
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrapped(text: &str, width: usize) -> String {
        let mut out = String::new();
        paragraph(&mut out, text, 0, 2, width);
        out
    }

    #[test]
    fn breaks_between_words() {
        assert_eq!(wrapped("one two three", 8), "one two\n  three\n");
        assert_eq!(wrapped("one averyverylongword", 8), "one\n  averyverylongword\n");
        assert_eq!(wrapped("", 8), "\n");
    }

    proptest! {
        #[test]
        fn loses_no_word(words in proptest::collection::vec("[a-zé→]{1,12}", 0..30), width in 4usize..60) {
            let out = wrapped(&words.join(" "), width);
            prop_assert_eq!(out.split_whitespace().collect::<Vec<_>>(), words);
            prop_assert!(out.lines().all(|line| line.chars().count() <= width.max(2 + 12)));
        }
    }
}
