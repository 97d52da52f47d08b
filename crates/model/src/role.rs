use crate::text_enum::text_enum;

text_enum! {
    /// The speaker of a turn.
    Role, "role", {
        /// The user, or the orchestrator in place of the user.
        User = "user",
        /// The agent.
        Assistant = "assistant",
        /// Instructions from the program around the agent.
        System = "system",
        /// The result of a tool.
        Tool = "tool",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_texts_of_roles_parse() {
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
