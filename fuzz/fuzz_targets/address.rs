//! No address makes the parser panic, none shows a password, and none in another notation is taken for a
//! file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use turnkeep_repo::fuzzing::shown_address;

const SECRET: &str = "hunter2";

fuzz_target!(|text: &str| {
    if text.contains(SECRET) {
        return;
    }
    let _ = shown_address(text);
    // What follows a `/` of an address may be the name of a database.
    let is_name = |c: char| c.is_alphanumeric();
    let name: String = text.chars().filter(|c| is_name(*c)).collect();
    for address in [
        format!("postgres://user:{SECRET}@{text}"),
        format!("postgres://host/db?password={SECRET}&{text}"),
        format!("postgres://host/db?sslpassword={SECRET}{text}"),
        format!("postgres://{name}:{SECRET}"),
        format!("{text}postgres:/{name}:{SECRET}"),
        format!("{text} password = {SECRET}"),
    ] {
        let shown = shown_address(&address);
        assert!(shown.is_some(), "{address:?} is a file");
        assert!(
            !shown.is_some_and(|shown| shown.contains(SECRET)),
            "{address:?}"
        );
    }
});
