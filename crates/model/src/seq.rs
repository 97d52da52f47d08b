use crate::number::number;

number! {
    /// The number of a turn in the history of its task: 1 for the first turn, then 2, 3, … without gaps.
    ///
    /// An `Option<Seq>` is a place in a history: after a turn, or, `None`, before the first one.
    ///
    /// ```
    /// use turnkeep_model::Seq;
    ///
    /// let seq = Seq::new(2)?;
    /// assert_eq!(seq, 2);
    /// assert!(None < Some(Seq::MIN) && Seq::MIN < seq);
    /// assert_eq!("2".parse::<Seq>()?, seq);
    /// assert!(Seq::new(0).is_err());
    /// # Ok::<(), turnkeep_model::InvalidValue>(())
    /// ```
    Seq, "seq", from 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seq_is_1_to_the_highest_integer_that_every_json_reader_keeps() {
        assert_eq!(Seq::new(1), Ok(Seq::MIN));
        assert_eq!(Seq::new(9_007_199_254_740_991), Ok(Seq::MAX));
        for number in [i64::MIN, -1, 0, 9_007_199_254_740_992, i64::MAX] {
            let error = Seq::new(number).unwrap_err().to_string();
            let expected = format!("invalid seq: {number} is outside 1 to 9007199254740991");
            assert_eq!(error, expected);
        }
        for text in ["", "1.0", "one", "9223372036854775808"] {
            let error = text.parse::<Seq>().unwrap_err();
            assert_eq!(error.to_string(), "invalid seq: is no number");
        }
    }
}
