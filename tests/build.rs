//! A new file in `migrations/` does not change any source, so Cargo must be told to look.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
