//! Rows as CSV text.

use serde::Serialize;

use crate::store::StoreError;

/// The rows as CSV text, with a header line of `columns` if they are the `first` ones. `columns` are the
/// names of a row's fields, for a file without rows.
pub(super) fn of<T: Serialize>(rows: &[T], columns: &[&str], first: bool) -> Result<Vec<u8>, StoreError> {
    let invalid = |e: &dyn std::fmt::Display| StoreError::Invalid(e.to_string());
    let mut writer = csv::WriterBuilder::new().has_headers(first).from_writer(Vec::new());
    for row in rows {
        writer.serialize(row).map_err(|e| invalid(&e))?;
    }
    if first && rows.is_empty() {
        writer.write_record(columns).map_err(|e| invalid(&e))?;
    }
    writer.into_inner().map_err(|e| invalid(&e))
}
