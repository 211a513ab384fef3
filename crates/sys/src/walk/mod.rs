//! walk placeholder
