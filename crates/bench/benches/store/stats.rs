//! Quantiles.

/// Returns a quantile, interpolated between two values.
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

/// Returns the quartiles; the median is in the middle.
pub(crate) fn quartiles(values: &[f64]) -> [f64; 3] {
    [0.25, 0.5, 0.75].map(|part| quantile(values, part))
}

/// Returns the quartiles of `these / those`. Values with the same index were measured next to each
/// other, so the load of the machine cancels out.
pub(crate) fn ratios(these: &[f64], those: &[f64]) -> [f64; 3] {
    let ratios: Vec<f64> = these.iter().zip(those).map(|(a, b)| a / b).collect();
    quartiles(&ratios)
}
