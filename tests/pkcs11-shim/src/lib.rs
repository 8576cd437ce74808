//! A PKCS#11 module that forwards to a real one and injects the faults a control file names.
