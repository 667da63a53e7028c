//! Recorded and written answers of real servers, cut everywhere.
