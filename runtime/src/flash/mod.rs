//! Flash memories behind `embedded_storage::nor_flash::NorFlash`.
