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
    (r#"://[^/ \t\r\n:@"'<>]*:([^/ \t\r\n"'<>]+)@"#, is_value),
    // The addresses to which anybody may post.
    (
        r"(?:hooks\.slack\.com/(?:services|workflows)|discord(?:app)?\.com/api/webhooks)/([A-Za-z0-9_/-]{16,})",
        any,
    ),
    // `Authorization: Bearer …`, also as JSON.
    (
        r#"(?i-u:authorization)\\*["']?[ \t]*[=:][ \t]*\\*["'`]?(?i-u:bearer|basic|token|apikey|digest)[ \t]+([^ \t\r\n"'`\\]{6,})"#,
        is_value,
    ),
    (
        r"(?-u:\b{start-half})(?i-u:bearer|basic)[ \t]+([A-Za-z0-9._~+/=-]{12,})",
        is_no_word,
    ),
    (
        r#"(?i-u:(?-u:\b{start-half})(?:set-)?cookie):[ \t]*([A-Za-z0-9_.-]+=[^ \t\r\n"'\\]{4,}[^\r\n"'\\]*)"#,
        any,
    ),
    // `curl -u me:…`
    (
        r#"(?-u:\b{start-half})curl(?-u:\b{end-half})[^\r\n|]*?[ \t]-(?:[a-zA-Z]*[uU]|-(?:proxy-)?user)[ \t=]*["']?[^ \t\r\n:"'$]*:([^ \t\r\n"'`\\]+)"#,
        is_value,
    ),
    // `mysql -p…`, `sshpass -p …`, `docker login -p …`, `redis-cli -a …`
    (
        r#"(?-u:\b{start-half})(?:(?:mysql|mariadb)[a-z-]*(?-u:\b{end-half})[^\r\n|;]*?[ \t]-p["']?|sshpass[ \t]+-p[ \t]*["']?|docker[ \t]+login(?-u:\b{end-half})[^\r\n|;]*?[ \t]-p[ \t]+["']?|redis-cli(?-u:\b{end-half})[^\r\n|;]*?[ \t]-a[ \t]+["']?)([^ \t\r\n"'`\\-][^ \t\r\n"'`\\]{3,})"#,
        is_value,
    ),
    // `set -x TOKEN …` of fish
    (
        r#"(?-u:\b{start-half})set[ \t]+-[a-zA-Z]+[ \t]+[A-Z0-9_]*(?:KEY|TOKEN|SECRET|PASSWORD)[A-Z0-9_]*[ \t]+["']?([^ \t\r\n"']{4,})"#,
        is_value,
    ),
    // `.netrc`
    (
        r"(?-u:\b{start-half})login[ \t\r\n]+[^ \t\r\n]+[ \t\r\n]+password[ \t]+([^ \t\r\n]{4,})",
        any,
    ),
    // `<password>…</password>`
    (
        r"<(?:[a-zA-Z]+:)?(?i-u:[a-z_-]*(?:password|passwd|passphrase|secret|token|api-?key))>[ \t\r\n]*([^<> \t\r\n]{4,})[ \t\r\n]*</",
        is_value,
    ),
    // `--password …`
    (
        r#"--(?:[a-z-]+-)?(?:password|passphrase|passwd|secret|token|api-key|access-key|secret-key)(?:[ \t]+|=)\\*["']?([^ \t\r\n"'`\\-][^ \t\r\n"'`\\]{3,})"#,
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
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "_.:!?".contains(c);
    let end = text.find(|c| !is_of_name(c));
    let is_call = end.is_some_and(|end| end > 0 && text[end..].starts_with(['(', '[', '{', '<']));
    !text.starts_with(OTHERS) && !text.contains("::") && !is_call
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
    is_value(text) && !WORDS.contains(&word)
}
