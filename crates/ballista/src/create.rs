//! `CREATE TABLE .. AS` on a cluster: the executors write the rows, and each node publishes its part.

use std::collections::{BTreeMap, HashSet};

use coframe::Name;
use datafusion::{
    common::{Result, exec_err, not_impl_err, plan_err},
    logical_expr::{CreateMemoryTable, LogicalPlan},
    prelude::SessionContext,
};
use futures::future::{join_all, try_join_all};

use crate::{
    client::{ClusterCatalog, Peer},
    part::external,
    publish::{Stage, Staged},
    staging::unique,
    wire::{COMMIT, CommitRequest, DROP, DoneAnswer, DropRequest},
};

/// Runs `CREATE TABLE name AS query`. Each partition of the query is written on the executor that computes it, and the rows
/// of a node become one frame of this name in its store.
///
/// A statement that reads the table between the first and the last of these frames fails, as one does later if a part is
/// missing. It never reads fewer rows. While a node publishes, it has its rows twice.
///
/// # Errors
///
/// Those of the query; if a node has a frame of this name; and if a node does not answer, or has no room. No part of the
/// table is left, except on a node that does not answer any more.
pub async fn create_table(context: &SessionContext, table: &CreateMemoryTable) -> Result<()> {
    let Some(catalog) = context.catalog("coframe") else { return plan_err!("the session is not one of a cluster") };
    let Some(catalog) = catalog.downcast_ref::<ClusterCatalog>() else {
        return plan_err!("the catalog `coframe` is not one of a cluster");
    };
    let name = table.name.table();
    check(table)?;
    if catalog.exists(name).await? {
        if table.if_not_exists {
            return Ok(());
        }
        return plan_err!("the table `{name}` exists; choose another name, or remove it from each node");
    }
    let nodes = catalog.peers().await?;
    let statement = Statement { name: name.to_owned(), token: unique(), nodes };
    let created = statement.run(context, table.input.as_ref().clone()).await;
    statement.clean(created.is_err()).await;
    created
}

/// What is not possible with frames.
fn check(table: &CreateMemoryTable) -> Result<()> {
    let name = table.name.table();
    name.parse::<Name>().map_err(external)?;
    if table.name.schema().is_some_and(|schema| schema != "public") {
        return plan_err!("`{}` is not in the schema `public`, the only one of a cluster", table.name);
    }
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
    async fn run(&self, context: &SessionContext, query: LogicalPlan) -> Result<()> {
        let nodes = self.nodes.iter().map(|(node, _)| node.clone()).collect();
        let stage = Stage::new(query, self.token.clone(), nodes)?;
        let plan = LogicalPlan::Extension(stage.extension());
        let written = context.execute_logical_plan(plan).await?.collect().await?;
        let mut of_node: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for Staged { node, frame } in Staged::of(&written)? {
            of_node.entry(node).or_default().push(frame);
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
        join_all(commits).await.into_iter().try_for_each(|done| done.map(|_| ()))
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
