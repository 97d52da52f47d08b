//! Keys that are known by their form or by the words around them.

use std::sync::LazyLock;

use super::{Pattern, Rule, any};

/// The patterns of [`RULES`], in their order. An escaped line break or a colour may stand right before a key.
pub(super) const PATTERNS: [Pattern; 13] = [
    // A private key, also one that is cut at its end or its beginning.
    (
        r#"(?x)
        -----BEGIN\ [A-Z0-9\ ]*PRIVATE\ KEY(?:\ BLOCK)?-----
            (?: (?:[\s>|+"',→-]|\\+[nr])* [A-Za-z-]{4,12}:\ [^\r\n\\]{1,80} )*
            (?: (?: (?:[\s>|+"',→-]|\\+[nr])+ [A-Za-z0-9+/=]+ )* (?:[\s>|+"',→-]|\\+[nr])*
                    -----END\ [A-Z0-9\ ]*PRIVATE\ KEY(?:\ BLOCK)?-----
                | (?: (?:[\s>|+"',→-]|\\+[nr])+ [A-Za-z0-9+/=]{20,} )+ (?: (?:\s|\\+[nr])+ [A-Za-z0-9+/=]+ …?\s*\z )? )
        | (?: [A-Za-z0-9+/=]{20,} (?:[\s>|+"',→-]|\\+[nr])+ )+ [A-Za-z0-9+/=]* (?:\s|\\+[nr])*
            -----END\ [A-Z0-9\ ]*PRIVATE\ KEY(?:\ BLOCK)?-----"#,
        any,
    ),
    // The prefixes of services, and JSON Web Tokens.
    (
        r"(?x) (?: (?-u:\b{start-half}) | \\+[nrt] | \[[0-9;]*m ) (
            sk-[A-Za-z0-9]{20,} | sk-(?:ant|proj|svcacct|admin|or|lf)-[A-Za-z0-9_-]{16,}
            | [rsp]k_(?:live|test)_[A-Za-z0-9]{10,} | whsec_[A-Za-z0-9+/=]{16,}
            | gh[opsru]_[A-Za-z0-9]{20,} | github_pat_[A-Za-z0-9_]{20,}
            | gl(?:pat|dt|rt|cbt|ptt|ft|soat|imt|agent|wt|ffct)-[A-Za-z0-9_.-]{20,}
            | xox[a-z]-[A-Za-z0-9-]{10,} | xapp-[A-Za-z0-9-]{10,}
            | A[KS]IA[A-Z0-9]{16} | AIza[A-Za-z0-9_-]{30,} | ya29\.[A-Za-z0-9_-]{20,} | GOCSPX-[A-Za-z0-9_-]{20,}
            | npm_[A-Za-z0-9]{30,} | pypi-[A-Za-z0-9_-]{30,} | hf_[A-Za-z0-9]{20,} | dckr_pat_[A-Za-z0-9_-]{20,}
            | do[opr]_v1_[a-f0-9]{40,} | SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}
            | gsk_[A-Za-z0-9]{20,} | xai-[A-Za-z0-9]{20,} | hv[sb]\.[A-Za-z0-9_-]{20,} | lin_api_[A-Za-z0-9]{20,}
            | shp(?:at|ca|pa|ss)_[a-fA-F0-9]{20,} | ATATT3[A-Za-z0-9_=-]{20,} | AGE-SECRET-KEY-1[A-Z0-9]{40,}
            | \$(?:2[aby]|argon2[a-z]*|[156])\$[A-Za-z0-9./+$=,]{20,}
            | eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)?
        )",
        any,
    ),
    // The password in an address, which may contain `@`.
    (r#"://[^/ \t\r\n:@"'<>]*:([^/ \t\r\n"'<>]+)@"#, is_literal),
    // The addresses to which anybody may post.
    (
        r"(?:hooks\.slack\.com/(?:services|workflows)|discord(?:app)?\.com/api/webhooks)/([A-Za-z0-9_/-]{16,})",
        any,
    ),
    // `Authorization: Bearer …`, also as JSON.
    (
        r#"(?x)
        (?i-u: authorization ) \\* ["']? [\ \t]* [=:] [\ \t]* \\* ["'`]?
        (?i-u: bearer | basic | token | apikey | digest ) [\ \t]+ ( [^\ \t\r\n"'`\\]{6,} )"#,
        is_value,
    ),
    (
        r"(?-u:\b{start-half})(?i-u:bearer|basic)[ \t]+([A-Za-z0-9._~+/=-]{12,})",
        is_no_word,
    ),
    // `Cookie: …`, also as JSON.
    (
        r#"(?x)
        (?-u:\b{start-half}) (?i-u: (?:set-)? cookie ) \\* ["']? [\ \t]* : [\ \t]* \[? \\* ["'`]?
        ( [A-Za-z0-9_.-]+ = [^\ \t\r\n"'\\]{4,} [^\r\n"'\\]* )"#,
        any,
    ),
    // `curl -u me:…`
    (
        r#"(?x)
        (?-u:\b{start-half}) curl (?-u:\b{end-half}) [^\r\n|]*?
        [\ \t] - (?: [a-zA-Z]*[uU] | -(?:proxy-)?user ) [\ \t=]* ["']?
        [^\ \t\r\n:"'$]* : ( [^\ \t\r\n"'`\\]+ )"#,
        is_literal,
    ),
    // `mysql -p…`, `sshpass -p …`, `docker login -p …`, `redis-cli -a …`
    (
        r#"(?x)
        (?-u:\b{start-half})
        (?: (?:mysql|mariadb)[a-z-]* (?-u:\b{end-half}) [^\r\n|;]*? [\ \t] -p
            | sshpass [\ \t]+ -p [\ \t]*
            | docker [\ \t]+ login (?-u:\b{end-half}) [^\r\n|;]*? [\ \t] -p [\ \t]+
            | redis-cli (?-u:\b{end-half}) [^\r\n|;]*? [\ \t] -a [\ \t]+ )
        ["']? ( [^\ \t\r\n"'`\\-] [^\ \t\r\n"'`\\]{3,} )"#,
        is_given,
    ),
    // `set -x TOKEN …` of fish
    (
        r#"(?x)
        (?-u:\b{start-half}) set [\ \t]+ -[a-zA-Z]+ [\ \t]+
        [A-Z0-9_]* (?:KEY|TOKEN|SECRET|PASSWORD) [A-Z0-9_]* [\ \t]+ ["']? ( [^\ \t\r\n"']{4,} )"#,
        is_given,
    ),
    // `.netrc`
    (
        r"(?-u:\b{start-half})login[ \t\r\n]+[^ \t\r\n]+[ \t\r\n]+password[ \t]+([^ \t\r\n]{4,})",
        any,
    ),
    // `<password>…</password>`
    (
        r"(?x)
        < (?:[a-zA-Z]+:)? (?i-u: [a-z_-]* (?:password|passwd|passphrase|secret|token|api-?key) ) >
        [\ \t\r\n]* ( [^<>\ \t\r\n]{4,} ) [\ \t\r\n]* </",
        is_given,
    ),
    // `--password …`
    (
        r#"(?x)
        -- (?:[a-z-]+-)? (?:password|passphrase|passwd|secret|token|api-key|access-key|secret-key)
        (?: [\ \t]+ | = ) \\* ["']? ( [^\ \t\r\n"'`\\-] [^\ \t\r\n"'`\\]{3,} )"#,
        is_argument,
    ),
];

pub(super) static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| Rule::list(&PATTERNS));

/// Whether the text in the place of a value is one, not a variable, a call, or replaced already.
pub(super) fn is_value(text: &str) -> bool {
    const OTHERS: [char; 22] = [
        '$', '<', '{', '[', '(', '%', '*', '&', '.', '=', ':', ',', ')', ']', '}', ';', '+', '|',
        '?', '\'', '"', '…',
    ];
    !text.starts_with(OTHERS) && !text.contains("::") && bracket_after_name(text).is_none()
}

/// Whether it is a value, or begins with a sign as [`is_value`] does not expect it, and has letters and digits.
pub(super) fn is_given(text: &str) -> bool {
    let is_odd = || is_literal(text) && is_mixed(text) && !is_call(text) && !text.contains("::");
    is_value(text) || is_odd()
}

/// Whether the text stands for itself, where signs are usual: in quotes and in addresses. A variable, a format and a
/// pattern do not, and neither does a text that is replaced already.
pub(super) fn is_literal(text: &str) -> bool {
    const OTHERS: [&str; 17] = [
        "${", "$(", "#{", "@{", "%{", "%(", "{{", "{%", "<%", "&#", "**", "./", "..", "…", "'",
        "\"", "`",
    ];
    let close = text.chars().next().and_then(closing);
    let is_in_brackets = close.is_some_and(|close| text.contains(close));
    let has_words = text.contains(char::is_alphanumeric);
    let is_odd = has_words
        && !OTHERS.iter().any(|begin| text.starts_with(begin))
        && !is_in_brackets
        && !is_variable(text)
        && !is_format(text);
    is_value(text) || is_odd
}

pub(super) fn is_mixed(value: &str) -> bool {
    let has = |is_of: fn(&u8) -> bool| value.as_bytes().iter().any(is_of);
    has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
}

/// Whether it is all a call or a type: `varchar(255)`, `Option<String>`.
pub(super) fn is_call(text: &str) -> bool {
    let close = bracket_after_name(text).and_then(closing);
    close.is_some_and(|close| text.trim_end_matches(['?', '!', ';', ',']).ends_with(close))
}

/// Returns the bracket in `name(`.
fn bracket_after_name(text: &str) -> Option<char> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "_.:!?".contains(c);
    let end = text.find(|c| !is_of_name(c)).filter(|end| *end > 0)?;
    let next = text[end..].chars().next();
    next.filter(|next| closing(*next).is_some())
}

fn closing(bracket: char) -> Option<char> {
    match bracket {
        '(' => Some(')'),
        '[' => Some(']'),
        '{' => Some('}'),
        '<' => Some('>'),
        _ => None,
    }
}

/// `%NAME%`, `$name`, `$user->name`, `$env:NAME`, `$A:$B`, `$NAME-2`
fn is_variable(text: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let of_windows = text.strip_prefix('%').and_then(|it| it.strip_suffix('%'));
    if let Some(name) = of_windows {
        return name.chars().all(is_of_name);
    }
    let rest = text.trim_start_matches('$');
    if rest.len() == text.len() || rest.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    let name = rest
        .split(|c: char| !is_of_name(c))
        .next()
        .unwrap_or_default();
    let is_of_environment = name.len() > 2 && !name.contains(|c: char| c.is_ascii_lowercase());
    let names = rest.replace("->", ".");
    is_of_environment || names.chars().all(|c| is_of_name(c) || ".:$".contains(c))
}

/// `%s`, `%08x`, `%s:%s`
fn is_format(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('%') else {
        return false;
    };
    let width = |c: char| c.is_ascii_digit() || "-+#.*".contains(c);
    let rest = rest.trim_start_matches(width);
    let rest = rest.strip_prefix(['s', 'd', 'i', 'u', 'x', 'X', 'f', 'g', 'q', 'v']);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '%', '-', '/', '.']))
}

/// Whether it has digits, or capital letters within.
fn is_no_word(text: &str) -> bool {
    let mut rest = text.bytes().skip(1);
    text.contains('=') || rest.any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

/// Whether the word after an option is its value, and not the rest of a sentence about it.
fn is_argument(text: &str) -> bool {
    const WORDS: [&str; 28] = [
        "option",
        "options",
        "flag",
        "flags",
        "argument",
        "arguments",
        "parameter",
        "value",
        "with",
        "from",
        "file",
        "stdin",
        "instead",
        "which",
        "that",
        "this",
        "then",
        "when",
        "because",
        "followed",
        "without",
        "must",
        "should",
        "does",
        "will",
        "were",
        "here",
        "into",
    ];
    let word = text.trim_end_matches(|c: char| c.is_ascii_punctuation());
    is_given(text) && !WORDS.contains(&word)
}
