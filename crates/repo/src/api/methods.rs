//! The methods that the async handle and a transaction have alike.

/// Declares methods of the async handle, as `async_methods!` does, and of a transaction. There a write is the same
/// value, and a read is the query after `=>`, for the operation before it.
macro_rules! methods {
    (
        $(#[$about:meta])*
        impl $handle:ty, $in_transaction:ty as $blocking:ident {
            $(writes: $(
                $(#[$write_doc:meta])*
                fn $write:ident(&$this:ident $(, $input:ident: $input_type:ty)*) -> $output:ty
                    = $value:expr $(=> $convert:path)?;
            )*)?
            $(reads($conn:ident, $call:ident): $(
                $(#[$read_doc:meta])*
                fn $read:ident(&self $(, $argument:ident: $(&$lent:ident)? $($copied:ident)?)*) -> $result:ty
                    = $on:ident($($subject:ident)?) => $query:expr;
            )*)?
        }
    ) => {
        #[cfg(feature = "tokio")]
        async_methods! {
            $(#[$about])*
            impl $handle as $blocking {
                $(writes: $(
                    $(#[$write_doc])*
                    fn $write(&$this $(, $input: $input_type)*) -> $output = $value $(=> $convert)?;
                )*)?
                $(reads: $(
                    $(#[$read_doc])*
                    fn $read(&self $(, $argument: $(&$lent)? $($copied)?)*) -> $result;
                )*)?
            }
        }

        impl $in_transaction {
            $($(
                $(#[$write_doc])*
                #[doc = concat!("\nSee [`", stringify!($blocking), "::", stringify!($write), "`].")]
                pub fn $write(&$this $(, $input: $input_type)*) -> $output {
                    $crate::store::on_engine!(Transaction: $this.open(), open, ops => open.write($value))
                    $(.map($convert))?
                }
            )*)?
            $($(
                $(#[$read_doc])*
                #[doc = concat!("\nSee [`", stringify!($blocking), "::", stringify!($read), "`].")]
                pub fn $read(&self $(, $argument: $(&$lent)? $($copied)?)*) -> $result {
                    let $call = $crate::base::operation::Operation::$on(stringify!($read) $(, $subject)?);
                    $crate::store::on_engine!(Transaction: self.open(), open, ops => {
                        open.read($call, |$conn| $query)
                    })
                }
            )*)?
        }
    };
}
