use crate::number::number;

number! {
    /// The number of a binding in the record of its task: 1 for the first one, then 2, 3, … without gaps.
    ///
    /// ```
    /// use turnkeep_model::Revision;
    ///
    /// assert_eq!(Revision::MIN, 1);
    /// assert!(Revision::new(0).is_err());
    /// # Ok::<(), turnkeep_model::InvalidValue>(())
    /// ```
    Revision, "revision", from 1
}
