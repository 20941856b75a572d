//! The RocketMQ remoting protocol as bytes: frames, headers, message records, properties, ids, codes.
//!
//! Invariant: nothing here does I/O, reads a clock or panics on input; whatever a peer sent is either understood
//! or a named error. Facts are from the protocol reference (wire.md), whose sections are cited.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod base64;
pub mod batch;
pub mod body;
pub mod code;
mod cursor;
pub mod frame;
pub mod hash;
pub mod header;
pub mod ids;
pub mod loose_json;
pub mod names;
pub mod pop;
pub mod prop_crc;
pub mod properties;
pub mod pull_flag;
pub mod recall;
pub mod record;
mod scan;
pub mod sys_flag;
