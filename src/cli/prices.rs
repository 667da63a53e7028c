//! `coordinator price …`

use clap::{Args, Subcommand};
use serde::Serialize;

use super::output::{Output, or_dash};
use super::{ACTOR, Failed, usd};
use crate::domain::ids::PriceId;
use crate::domain::money::MicroUsd;
use crate::domain::price::{Price, price_text};
use crate::domain::time::Timestamp;
use crate::store::Store;
use crate::store::prices::{self, NewPrice, PriceRow};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The prices in force, per 1,000,000 tokens
    List,
    /// Put a price in force
    Set(SetArgs),
    /// Take a model off the price list: it is not served any more
    Remove { model: String },
}

#[derive(Debug, Args)]
pub struct SetArgs {
    model: String,
    /// USD per 1,000,000 prompt tokens
    #[arg(long, value_name = "USD", value_parser = usd)]
    input: MicroUsd,
    /// USD per 1,000,000 generated tokens
    #[arg(long, value_name = "USD", value_parser = usd)]
    output: MicroUsd,
    /// USD per 1,000,000 prompt tokens read from the provider's cache [default: the input price]
    #[arg(long, value_name = "USD", value_parser = usd)]
    cache_read: Option<MicroUsd>,
    /// USD per 1,000,000 prompt tokens written to it for some minutes [default: the input price]
    #[arg(long, value_name = "USD", value_parser = usd)]
    cache_write: Option<MicroUsd>,
    /// USD per 1,000,000 prompt tokens written to it for an hour [default: as for some minutes]
    #[arg(long = "cache-write-1h", value_name = "USD", value_parser = usd)]
    cache_write_1h: Option<MicroUsd>,
    /// The name for people
    #[arg(long)]
    name: Option<String>,
    /// The most tokens of prompt and output together
    #[arg(long, value_name = "TOKENS")]
    context: Option<u64>,
    /// The most tokens of output
    #[arg(long, value_name = "TOKENS")]
    max_output: Option<u64>,
    /// How many requests an account may have running at once, the others wait; 0: any number
    #[arg(long, value_name = "N")]
    max_running: Option<u32>,
}

#[derive(Serialize)]
struct View {
    id: PriceId,
    model: String,
    display_name: String,
    input_price: MicroUsd,
    output_price: MicroUsd,
    cache_read_price: Option<MicroUsd>,
    cache_write_price: Option<MicroUsd>,
    cache_write_1h_price: Option<MicroUsd>,
    context_length: Option<u64>,
    max_output: Option<u64>,
    max_running: Option<u32>,
    created_at: Timestamp,
}

const COLUMNS: [&str; 10] =
    ["MODEL", "NAME", "INPUT", "OUTPUT", "CACHE READ", "CACHE WRITE", "1H", "CONTEXT", "MAX OUTPUT", "AT ONCE"];

impl View {
    fn cells(&self) -> [String; 10] {
        [
            self.model.clone(),
            self.display_name.clone(),
            price_text(self.input_price),
            price_text(self.output_price),
            or_dash(self.cache_read_price.map(price_text)),
            or_dash(self.cache_write_price.map(price_text)),
            or_dash(self.cache_write_1h_price.map(price_text)),
            or_dash(self.context_length),
            or_dash(self.max_output),
            or_dash(self.max_running),
        ]
    }
}

impl From<PriceRow> for View {
    fn from(row: PriceRow) -> Self {
        Self {
            id: row.id,
            model: row.model,
            display_name: row.display_name,
            input_price: row.price.input,
            output_price: row.price.output,
            cache_read_price: row.price.cache_read,
            cache_write_price: row.price.cache_write,
            cache_write_1h_price: row.price.cache_write_1h,
            context_length: row.context_length,
            max_output: row.max_output,
            max_running: row.max_running,
            created_at: row.created_at,
        }
    }
}

pub fn run(command: Command, store: &Store, out: Output) -> Result<(), Failed> {
    match command {
        Command::List => {
            let views: Vec<View> = store.read_inline(prices::list)?.into_iter().map(View::from).collect();
            out.table(&views, COLUMNS, View::cells)
        }
        Command::Set(args) => {
            let new = NewPrice {
                model: args.model,
                display_name: args.name,
                price: Price {
                    input: args.input,
                    output: args.output,
                    cache_read: args.cache_read,
                    cache_write: args.cache_write,
                    cache_write_1h: args.cache_write_1h,
                },
                context_length: args.context,
                max_output: args.max_output,
                max_running: args.max_running,
                keep: true,
            };
            let row = store.write_exclusive(|conn| prices::set(conn, &new, ACTOR, Timestamp::now()))?;
            out.print(&View::from(row), |view| {
                let (input, output) = (price_text(view.input_price), price_text(view.output_price));
                format!("{}: {input} in, {output} out per 1M tokens", view.model)
            })
        }
        Command::Remove { model } => {
            store.write_exclusive(|conn| prices::remove(conn, &model, ACTOR, Timestamp::now()))?;
            out.print(&serde_json::json!({"model": model, "removed": true}), |_| format!("removed {model}"))
        }
    }
}
