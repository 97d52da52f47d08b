//! Runs a throwaway server until standard input ends, and prints its address.

use std::io::Read;

fn main() -> anyhow::Result<()> {
    let server = turnkeep_test_postgres::Server::start(&[])?;
    println!("{}", server.url("postgres"));
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
