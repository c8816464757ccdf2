//! A container image, pulled by digest.

/// An image that must be present.
pub struct Image {
    /// `REGISTRY/REPOSITORY@sha256:HEX`.
    pub reference: String,
}
