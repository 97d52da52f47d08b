//! No address makes the parser panic, and neither one that it takes nor the refusal shows a password.

#![no_main]

use libfuzzer_sys::fuzz_target;
use turnkeep_repo::fuzzing::shown_address;

const SECRET: &str = "hunter2";

fuzz_target!(|text: &str| {
    if text.contains(SECRET) {
        return;
    }
    let _ = shown_address(text);
    for address in [
        format!("postgres://user:{SECRET}@{text}"),
        format!("postgres://host/db?password={SECRET}&{text}"),
        format!("{text}?sslpassword={SECRET}"),
    ] {
        let shown = shown_address(&address);
        assert!(!shown.contains(SECRET), "{address:?}: {shown:?}");
    }
});
