use super::TempStore;

#[test]
fn twenty_kills_lose_and_repeat_no_answer() -> anyhow::Result<()> {
    crate::orchestrator::twenty_kills_lose_and_repeat_no_answer::<TempStore>()
}
