//! The order of tasks that wait for others.

use std::collections::{BTreeSet, HashMap};

use turnkeep_model::TaskId;

/// Returns the tasks that wait for others, each after those it waits for, else by their ids. `pairs`
/// are tasks and what they wait for. Tasks that wait in a circle, and for one, are left out.
pub(crate) fn after_dependencies(pairs: &[(TaskId, TaskId)]) -> Vec<&TaskId> {
    let mut missing: HashMap<&TaskId, usize> = HashMap::new();
    for (task_id, _) in pairs {
        missing.insert(task_id, 0);
    }
    let mut waiting_for: HashMap<&TaskId, Vec<&TaskId>> = HashMap::new();
    for (task_id, depends_on) in pairs {
        // Others are all written before.
        if missing.contains_key(depends_on) {
            waiting_for.entry(depends_on).or_default().push(task_id);
            *missing.entry(task_id).or_default() += 1;
        }
    }
    let free = missing.iter().filter(|(_, count)| **count == 0);
    let mut next: BTreeSet<&TaskId> = free.map(|(task_id, _)| *task_id).collect();
    let mut order = Vec::with_capacity(missing.len());
    while let Some(task_id) = next.pop_first() {
        order.push(task_id);
        for waiting in waiting_for.remove(task_id).unwrap_or_default() {
            if let Some(count) = missing.get_mut(waiting) {
                *count -= 1;
                if *count == 0 {
                    next.insert(waiting);
                }
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(pairs: &[(&str, &str)]) -> String {
        let id = |text: &str| TaskId::new(text).unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(a, b)| (id(a), id(b))).collect();
        let order = after_dependencies(&pairs);
        order.iter().map(|task_id| task_id.as_str()).collect()
    }

    #[test]
    fn a_task_comes_after_its_dependencies_else_by_id() {
        assert_eq!(order(&[]), "");
        assert_eq!(order(&[("b", "x"), ("a", "x")]), "ab");
        assert_eq!(order(&[("a", "b"), ("b", "c"), ("c", "x")]), "cba");
        // d is free with b, and a only after d.
        assert_eq!(
            order(&[("a", "d"), ("b", "x"), ("d", "x"), ("d", "b")]),
            "bda"
        );
        assert_eq!(
            order(&[("a", "b"), ("b", "a"), ("c", "a"), ("d", "x")]),
            "d"
        );
    }
}
