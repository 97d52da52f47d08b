# Lists the recipes.
default:
    @just --list

# Runs all tests.
test:
    cargo test --workspace

# Runs all tests, on PostgreSQL too.
test-postgres:
    cargo test --workspace --features postgres

# Tries all faults of docs/faults.md. `just faults --short` tries as many as CI, `--list` names them.
faults *ARGS:
    cargo run --bin turnkeep-faults -- {{ARGS}}

# Formats all code.
fmt:
    cargo fmt --all

# Lints as CI does.
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# Builds the documentation as CI does.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Checks licences, sources, bans and advisories of the dependencies.
deny:
    cargo deny --all-features check

# Migrates a scratch database, which writes the schema file.
schema:
    DATABASE_URL="$(mktemp -d)/scratch.db" diesel migration run

# Makes a new migration.
migration NAME:
    diesel migration generate {{NAME}}

# Measures against the raw SQLite C API and what others use. `just bench --svg plot.svg` draws too.
bench *ARGS:
    cd crates/bench && cargo bench -- {{ARGS}}

# Compares instructions, bytes and statements with the committed budgets. Needs valgrind.
budget:
    cd crates/bench && cargo bench --bench budget

# Fuzzes one target, for a minute unless told otherwise. The stable compiler does.
fuzz TARGET *ARGS="-max_total_time=60":
    RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none {{TARGET}} -- {{ARGS}}

# Runs everything that CI runs.
ci:
    .ci/run
