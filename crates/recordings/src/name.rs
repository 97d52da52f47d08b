/// The most characters of a name.
const LENGTH: usize = 100;

/// Returns the first words of a text in one line, with `…` if there are more. Control characters are left out.
pub(crate) fn first_words(text: &str) -> String {
    let words = text.split_whitespace().map(|word| {
        let visible = word.chars().filter(|c| !c.is_control());
        visible.collect::<String>()
    });
    let mut name = String::new();
    let mut length = 0;
    for word in words.filter(|word| !word.is_empty()) {
        let space = usize::from(length > 0);
        let word_length = word.chars().count();
        // Room for the ellipsis.
        if length + space + word_length >= LENGTH {
            if length == 0 {
                name.extend(word.chars().take(LENGTH - 1));
            }
            name.push('…');
            return name;
        }
        if space > 0 {
            name.push(' ');
        }
        name += &word;
        length += space + word_length;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line_of_whole_words() {
        assert_eq!(first_words(" Fix \n the\tlogin. "), "Fix the login.");
        assert_eq!(first_words("a\u{1b}[2J b\0"), "a[2J b");
        assert_eq!(first_words(" \n"), "");
        let long = first_words(&"Wörter ".repeat(50));
        assert!(
            long.ends_with("Wörter…") && long.chars().count() <= LENGTH,
            "{long}"
        );
        assert_eq!(first_words(&"x".repeat(500)).chars().count(), LENGTH);
    }
}
