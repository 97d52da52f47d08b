//! What is made of many measurements.

/// Returns the value below which this part of the values lies, between two of them if need be.
pub(crate) fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = part * sorted.len().saturating_sub(1) as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    match (sorted.get(below), sorted.get(above)) {
        (Some(below), Some(above)) => below + (above - below) * position.fract(),
        _ => f64::NAN,
    }
}

/// Returns the quartiles, the median in the middle.
pub(crate) fn quartiles(values: &[f64]) -> [f64; 3] {
    [0.25, 0.5, 0.75].map(|part| quantile(values, part))
}

/// Returns the quartiles of `these / those`, measured side by side: whatever else the machine
/// did then, it did to both.
pub(crate) fn ratios(these: &[f64], those: &[f64]) -> [f64; 3] {
    let ratios: Vec<f64> = these.iter().zip(those).map(|(a, b)| a / b).collect();
    quartiles(&ratios)
}
