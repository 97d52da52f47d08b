use crate::text_enum::text_enum;

text_enum! {
    /// Who said a turn.
    Role, "role", {
        /// The person, or the orchestrator in their place.
        User = "user",
        /// The agent.
        Assistant = "assistant",
        /// Instructions from the program around the agent.
        System = "system",
        /// What a tool gave back.
        Tool = "tool",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_parses_back_and_others_are_refused() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse::<Role>().as_ref(), Ok(role));
        }
        let error = "User".parse::<Role>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid role: is none of user, assistant, system, tool"
        );
    }
}
