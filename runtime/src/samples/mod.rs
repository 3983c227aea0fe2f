//! The sample buffer: fixed bins in flash.
