mod claude;
mod codex;
mod goose;
mod support;
mod words;
