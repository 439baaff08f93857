//! What falls in which cell.

/// Each refuted cell: the name of its exhibit, which of the scripts refutes it in the fewest steps, and
/// in how many. A test holds this to what the checker computes.
pub const FALLS: &[(&str, usize, usize)] = &[];
