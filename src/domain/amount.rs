//! Amounts of resources as Kubernetes writes them: `2`, `500m`, `4Gi`.

/// An amount in thousandths, the smallest part that Kubernetes knows, rounded up; none where the text is no amount.
pub fn thousandths(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let factor: f64 = match suffix {
        "" => 1e3,
        "n" => 1e-6,
        "u" => 1e-3,
        "m" => 1.0,
        "k" => 1e6,
        "M" => 1e9,
        "G" => 1e12,
        "T" => 1e15,
        "P" => 1e18,
        "E" => 1e21,
        "Ki" => 1024e3,
        "Mi" => 1024e3 * 1024.0,
        "Gi" => 1024e3 * 1_048_576.0,
        "Ti" => 1024e3 * 1_073_741_824.0,
        "Pi" => 1024e3 * 1_099_511_627_776.0,
        "Ei" => 1024e3 * 1_125_899_906_842_624.0,
        exponent => 1e3 * 10_f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    let amount = number.parse::<f64>().ok()? * factor;
    // 2^100 is far beyond the largest amount of Kubernetes.
    #[allow(clippy::cast_possible_truncation, reason = "it is bounded one line above")]
    (amount.is_finite() && amount.abs() < 2_f64.powi(100)).then(|| amount.ceil() as i128)
}
