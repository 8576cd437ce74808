//! An HTTPS client of an XKS proxy.
