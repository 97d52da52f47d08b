use crate::number::number;

number! {
    /// The number of a task's claim: 0 before the first one, then greater at each claim.
    ///
    /// A write with an older fence than the task's is refused.
    ///
    /// ```
    /// use turnkeep_model::Fence;
    ///
    /// assert_eq!(Fence::MIN, 0);
    /// assert!(Fence::new(7)? > Fence::new(6)?);
    /// assert!(Fence::new(-1).is_err());
    /// # Ok::<(), turnkeep_model::InvalidValue>(())
    /// ```
    Fence, "fence", from 0
}
