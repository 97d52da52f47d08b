# Lists the recipes.
default:
    @just --list

# The inner loop: format, clippy with every feature, the unit tests, the rules on SQLite.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --features postgres -- -D warnings
    cargo test -q --workspace --lib --bins
    cargo test -q --workspace --test it sqlite::

# Runs all tests.
test:
    cargo test --workspace

# Runs all tests, on PostgreSQL too.
test-postgres:
    cargo test --workspace --features postgres

# Runs everything that CI runs for a change. `just ci lint` runs one group; `.ci/run` lists them.
ci *GROUPS:
    .ci/run {{GROUPS}}

# Runs the slow checks: all tests with every feature, all faults, long fuzzing, the benchmarks.
nightly:
    .ci/run nightly

# Runs the scenarios of tests/agents with Claude Code and codex, which npm installs into a temporary folder.
agents *ARGS:
    cargo build -q --features postgres --bin turnkeep --bin turnkeep-test-server
    python3 tests/agents/run.py {{ARGS}}

# Formats all code.
fmt:
    cargo fmt --all

# Builds the documentation as CI does.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --features postgres

# Tries all faults of docs/faults.md. `just faults --short` tries as many as CI, `--list` names them.
faults *ARGS:
    cargo run --bin turnkeep-faults -- {{ARGS}}

# Fuzzes one target for a minute, on the stable compiler.
fuzz TARGET *ARGS="-max_total_time=60":
    RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none {{TARGET}} -- {{ARGS}}

# Compares instructions, bytes and statements with the committed budgets. Needs valgrind.
budget:
    cd crates/bench && cargo bench --bench budget

# Measures against the raw SQLite C API and other libraries. `just bench --svg plot.svg` draws too.
bench *ARGS:
    cd crates/bench && cargo bench -- {{ARGS}}

# Makes a new migration.
migration NAME:
    diesel migration generate {{NAME}}

# Migrates a scratch database, which writes the schema file.
schema:
    DATABASE_URL="$(mktemp -d)/scratch.db" diesel migration run

# Counts the lines of shipped code, and wordy turns of phrase per 1,000 sentences.
measure:
    .ci/lines crates/*
    .ci/prose
