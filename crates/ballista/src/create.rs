//! `CREATE TABLE .. AS` on a cluster: the executors write the rows, and each node publishes its part. And `DROP TABLE`.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use coframe::Name;
use datafusion::{
    catalog::CatalogProvider,
    common::{Result, TableReference, exec_datafusion_err, exec_err, not_impl_err, plan_datafusion_err, plan_err},
    error::DataFusionError,
    logical_expr::{CreateMemoryTable, DropTable, LogicalPlan},
    prelude::SessionContext,
};
use futures::future::{join_all, try_join_all};

use crate::{
    client::{ClusterCatalog, Peer},
    part::external,
    publish::{Stage, Staged},
    rerun::again,
    staging::unique,
    wire::{COMMIT, CommitRequest, DROP, DoneAnswer, DropRequest, TableId},
};

/// Runs `CREATE TABLE name AS query`. Each partition of the query is written on the executor that computes it, and the rows
/// of a node become one frame of this name in its store.
///
/// A statement that reads the table between the first and the last of these frames fails, as one does later if a part is
/// missing. It never reads fewer rows. While a node publishes, it has its rows twice.
///
/// # Errors
///
/// * Those of the query.
/// * If a node has a frame of this name, or gets one while the statement runs.
/// * If a node does not answer, or has no room.
///
/// No part of the table is left, except on a node that no longer answers.
pub async fn create_table(context: &SessionContext, table: &CreateMemoryTable) -> Result<()> {
    create_table_until(context, table, std::future::pending()).await
}

/// As [`create_table`]. If `stop` completes first, the statement ends with an error, and what it wrote is removed. Tasks that
/// still run end with the query, and then remove what they write. If the returned future is dropped instead, hidden frames
/// stay on the nodes until no executor of their store runs.
///
/// # Errors
///
/// Those of [`create_table`], and if `stop` completes.
pub async fn create_table_until(
    context: &SessionContext,
    table: &CreateMemoryTable,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let catalog = context.catalog("coframe");
    let catalog = catalog_of(catalog.as_ref())?;
    let name = table.name.table();
    check(table)?;
    if catalog.exists(name).await? {
        if table.if_not_exists {
            return Ok(());
        }
        return plan_err!("the table `{name}` exists; choose another name, or remove it with DROP TABLE");
    }
    let nodes = catalog.peers().await?;
    let mut stop = std::pin::pin!(stop);
    for number in 1.. {
        // Its token tells the frames of this run from those of others.
        let statement = Statement { name: name.to_owned(), token: unique(), nodes: nodes.clone() };
        let created = tokio::select! {
            created = statement.run(context, catalog, table.input.as_ref().clone()) => created,
            () = stop.as_mut() => {
                statement.clean(true).await;
                return Err(interrupted(name));
            }
        };
        statement.clean(created.is_err()).await;
        let Err(error) = created else { break };
        tokio::select! {
            again = again(number, error) => again?,
            () = stop.as_mut() => return Err(interrupted(name)),
        }
    }
    Ok(())
}

fn interrupted(name: &str) -> DataFusionError {
    exec_datafusion_err!("`CREATE TABLE {name}` was interrupted")
}

/// Runs `DROP TABLE name`: removes a table that [`create_table`] wrote from all nodes, also one of which parts are missing,
/// or forgets the files of a `CREATE EXTERNAL TABLE`.
///
/// # Errors
///
/// * If the table does not exist, unless the statement has `IF EXISTS`.
/// * If a node has a frame of this name that no `CREATE TABLE` wrote. Then nothing is removed.
/// * If a node does not answer. The other nodes have removed their parts.
pub async fn drop_table(context: &SessionContext, table: &DropTable) -> Result<()> {
    let catalog = context.catalog("coframe");
    let catalog = catalog_of(catalog.as_ref())?;
    let name = table.name.table();
    check_name(&table.name)?;
    if catalog.forget_files(name) {
        return Ok(());
    }
    let answers = try_join_all(catalog.nodes().iter().map(|node| node.describe(name, None))).await?;
    let mut drops = Vec::new();
    for (peer, answer) in catalog.nodes().iter().zip(answers) {
        if answer.table.is_none() {
            continue;
        }
        let Some(TableId { token, .. }) = answer.written else {
            return plan_err!(
                "the frame `{name}` of node `{}` was not written by CREATE TABLE; remove it there with `coframe rm {name}`",
                answer.node
            );
        };
        let request = DropRequest { token, name: Some(name.to_owned()) };
        drops.push(peer.ask::<DoneAnswer>(DROP, request));
    }
    if drops.is_empty() && !table.if_exists {
        return plan_err!("no node has a table `{name}`; see the names with SHOW TABLES");
    }
    join_all(drops).await.into_iter().try_for_each(|done| done.map(|_| ()))
}

fn catalog_of(catalog: Option<&Arc<dyn CatalogProvider>>) -> Result<&ClusterCatalog> {
    let found = catalog.and_then(|catalog| catalog.downcast_ref::<ClusterCatalog>());
    found.ok_or_else(|| plan_datafusion_err!("the session is not one of a cluster; create it with `connect`"))
}

/// A table of a cluster has the name of a frame, and is in the schema `public`.
fn check_name(name: &TableReference) -> Result<()> {
    if name.schema().is_some_and(|schema| schema != "public")
        || name.catalog().is_some_and(|catalog| catalog != "coframe")
    {
        return plan_err!("`{name}` is not in `coframe.public`, the only schema of a cluster; name the table alone");
    }
    name.table().parse::<Name>().map(|_| ()).map_err(external)
}

/// What is not possible with frames.
fn check(table: &CreateMemoryTable) -> Result<()> {
    let name = table.name.table();
    check_name(&table.name)?;
    if table.or_replace || table.temporary {
        return not_impl_err!("`{name}` can be neither replaced nor temporary: remove its frames, then create it");
    }
    if !table.constraints.is_empty() || !table.column_defaults.is_empty() {
        return not_impl_err!("`{name}` cannot have constraints or default values: frames have neither");
    }
    let mut seen = HashSet::new();
    match table.input.schema().fields().iter().find(|field| !seen.insert(field.name())) {
        Some(field) => plan_err!("two columns of `{name}` have the name `{}`; rename one with AS", field.name()),
        None => Ok(()),
    }
}

struct Statement {
    name: String,
    token: String,
    nodes: Vec<(String, Peer)>,
}

impl Statement {
    async fn run(&self, context: &SessionContext, catalog: &ClusterCatalog, query: LogicalPlan) -> Result<()> {
        let nodes = self.nodes.iter().map(|(node, _)| node.clone()).collect();
        let stage = Stage::new(query, self.token.clone(), nodes)?;
        let plan = LogicalPlan::Extension(stage.extension());
        let written = context.execute_logical_plan(plan).await?.collect().await?;
        let mut of_node: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for Staged { node, frame } in Staged::of(&written)? {
            of_node.entry(node).or_default().push(frame);
        }
        if of_node.is_empty() {
            return exec_err!(
                "no task wrote a part of `{}`, although each writes one; run the statement again",
                self.name
            );
        }
        let parts = of_node.len() as u64;
        let mut commits = Vec::new();
        for (node, staged) in of_node {
            let Some((_, peer)) = self.nodes.iter().find(|(known, _)| *known == node) else {
                return exec_err!("the node `{node}` wrote rows, and is not one of the statement");
            };
            let request = CommitRequest { name: self.name.clone(), token: self.token.clone(), parts, staged };
            commits.push(peer.ask_patiently::<DoneAnswer>(COMMIT, request));
        }
        // Waits for all: what is removed after an error must not be published later.
        join_all(commits).await.into_iter().try_for_each(|done| done.map(|_| ()))?;
        // Another statement or a program can have published this name on another node meanwhile.
        if catalog.table(&self.name).await?.is_none() {
            return exec_err!("the table `{}` was removed while it was created; create it again", self.name);
        }
        Ok(())
    }

    /// Removes hidden frames of tasks that ran twice, and after an error all that was written.
    async fn clean(&self, failed: bool) {
        let request = DropRequest { token: self.token.clone(), name: failed.then(|| self.name.clone()) };
        let asked = self.nodes.iter().map(|(_, peer)| peer.ask::<DoneAnswer>(DROP, request.clone()));
        for error in join_all(asked).await.into_iter().filter_map(Result::err) {
            log::warn!("rows of `{}` may remain on a node: {error}", self.name);
        }
    }
}

impl ClusterCatalog {
    /// The nodes with their names. Two executors of a node are both asked.
    async fn peers(&self) -> Result<Vec<(String, Peer)>> {
        let names = self.node_names().await?;
        Ok(names.into_iter().zip(self.nodes().iter().cloned()).collect())
    }

    /// Whether any node has a frame of this name, also one that cannot be read as a table.
    async fn exists(&self, name: &str) -> Result<bool> {
        let answers = try_join_all(self.nodes().iter().map(|node| node.describe(name, None))).await?;
        Ok(answers.iter().any(|answer| answer.table.is_some()) || self.has_files(name))
    }
}
