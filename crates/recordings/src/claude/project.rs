/// The length in UTF-16 units after which Claude Code cuts the name of a project folder.
pub(super) const MAX_SLUG: usize = 200;

/// Returns the name of the folder below `projects/` in which Claude Code keeps the sessions of a working
/// folder. The working folder is the real path, without symbolic links.
///
/// ```
/// use turnkeep_recordings::project_folder;
///
/// assert_eq!(project_folder("/srv/my.app"), "-srv-my-app");
/// ```
#[must_use]
pub fn project_folder(working_dir: &str) -> String {
    let mut name = slug(working_dir);
    if name.len() > MAX_SLUG {
        name.truncate(MAX_SLUG);
        name.push('-');
        name.push_str(&base36(hash(working_dir).unsigned_abs()));
    }
    name
}

/// Replaces each UTF-16 unit that is no ASCII letter or digit, so that a character above U+FFFF gives two
/// dashes.
pub(super) fn slug(dir: &str) -> String {
    let units = dir.encode_utf16().map(|unit| {
        let byte = u8::try_from(unit).unwrap_or_default();
        match byte.is_ascii_alphanumeric() {
            true => char::from(byte),
            false => '-',
        }
    });
    units.collect()
}

/// The hash that Claude Code appends to a name that it has cut.
fn hash(dir: &str) -> i32 {
    let units = dir.encode_utf16();
    units.fold(0, |hash: i32, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

fn base36(mut number: u32) -> String {
    let mut digits = Vec::new();
    loop {
        digits.extend(char::from_digit(number % 36, 36));
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_utf_16_unit_outside_of_ascii_letters_and_digits_becomes_a_dash() {
        for (dir, name) in [
            ("/home/dev/my.app_v2 (copy)", "-home-dev-my-app-v2--copy-"),
            ("/home/dev/Gr\u{fc}\u{df}e", "-home-dev-Gr--e"),
            ("/home/dev/emo\u{1f600}ji", "-home-dev-emo--ji"),
            ("/e\u{301}", "-e-"),
            (r"D:\x", "D--x"),
        ] {
            assert_eq!(project_folder(dir), name);
        }
    }

    /// Claude Code 2.1.332 gives these names.
    #[test]
    fn a_name_of_more_than_200_units_is_cut_and_gets_a_hash() {
        let deep: Vec<_> = (0..8)
            .map(|n| format!("a-rather-long-folder-name-{n:02}"))
            .collect();
        let deep = format!("/home/dev/{}", deep.join("/"));
        let umlauts = vec!["\u{fc}".repeat(60); 4].join("/");
        for (dir, hash) in [
            (deep.clone(), "-j22y20"),
            (format!("{deep}x"), "-mjmvts"),
            (format!("/home/dev/{}", "y".repeat(191)), "-kc2n4u"),
            (format!("/home/dev/{umlauts}"), "-6jkrf8"),
        ] {
            let name = project_folder(&dir);
            assert_eq!(name[..200], slug(&dir)[..200]);
            assert_eq!(name[200..], *hash, "{dir}");
        }
        let longest = format!("/home/dev/{}", "y".repeat(190));
        assert_eq!(project_folder(&longest), slug(&longest));
    }

    #[test]
    fn numbers_have_36_digits() {
        assert_eq!(base36(0), "0");
        assert_eq!(base36(i32::MIN.unsigned_abs()), "zik0zk");
    }
}
