//! How long it takes to plan and open a scan.

use std::{error::Error, hint::black_box, sync::Arc, time::Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use coframe::{PublishOptions, Store};
use coframe_datafusion::FrameTable;
use datafusion::{datasource::TableProvider, prelude::SessionContext};

/// Opening a frame of 24 columns, making a table of it, planning its scan and starting it.
pub(crate) async fn measure() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::Builder::new().prefix("coframe-bench-").tempdir_in("/dev/shm")?;
    let store = Store::open_at(directory.path().join("store"))?;
    println!("set-up of a scan of 24 columns, 8 of them of strings, median of 101");
    for rows in [1_000, 10_000_000] {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        let words = (0..rows).map(|row| (row % 10 != 0).then(|| format!("a long word {row}")));
        let words: ArrayRef = Arc::new(words.collect::<StringViewArray>());
        // Every third column has strings, whose size is estimated when a scan is planned.
        let columns =
            (0..24).map(|at| (format!("c{at}"), if at % 3 == 0 { words.clone() } else { numbers.clone() }, true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
        store.publish_with("wide", &batch, &PublishOptions::new().statistics(true))?;
        drop((batch, numbers, words));
        let context = SessionContext::new();
        let mut times = Vec::new();
        for _ in 0..101 {
            let start = Instant::now();
            let table = FrameTable::new(store.open("wide")?)?;
            let scan = table.scan(&context.state(), None, &[], None).await?;
            black_box(scan.execute(0, context.task_ctx())?);
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        times.sort_by(f64::total_cmp);
        println!("{rows:>9} rows: {:.0} us ({:.0} to {:.0})", times[50], times[0], times[100]);
        store.remove("wide")?;
    }
    Ok(())
}
