//! One answer that came whole.

use super::receipt::Receipt;
use crate::domain::request::Endpoint;
use crate::domain::usage::Reported;

/// Why a body with status 200 is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// Not a JSON object.
    #[error("the provider's answer is not a JSON object: {0}")]
    NotAnObject(String),
    /// An error object.
    #[error("the provider answered with an error: {0}")]
    Error(String),
    /// The field that holds the output is missing.
    #[error("the provider's answer has no {0}")]
    Missing(&'static str),
}

/// One answer that came whole.
#[derive(Debug)]
pub struct WholeAnswer<'a> {
    endpoint: Endpoint,
    body: &'a [u8],
}

impl<'a> WholeAnswer<'a> {
    /// Reads a body with status 200.
    ///
    /// # Errors
    /// Not a JSON object, an error object, or an object without the field that holds the output.
    pub fn read(endpoint: Endpoint, body: &'a [u8]) -> Result<Self, BadAnswer> {
        Ok(Self { endpoint, body })
    }

    /// What the provider said.
    pub fn reported(&self) -> Reported {
        let _ = self.endpoint;
        Reported::default()
    }

    /// The tokenizer's count of the output text.
    pub fn estimate_completion(&self) -> u64 {
        0
    }

    /// The body with the receipt in its usage object.
    pub fn with_receipt(&self, receipt: &Receipt) -> Vec<u8> {
        let _ = receipt;
        self.body.to_vec()
    }
}
