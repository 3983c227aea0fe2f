//! Configurations of both styles, field by field.
