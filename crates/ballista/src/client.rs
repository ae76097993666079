//! A session that runs SQL on a cluster.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::{Action, flight_service_client::FlightServiceClient};
use async_trait::async_trait;
use ballista::prelude::{SessionConfigExt, SessionContextExt};
use datafusion::{
    catalog::{CatalogProvider, SchemaProvider, TableProvider},
    common::{Result, exec_datafusion_err, not_impl_err, plan_err},
    datasource::listing::ListingTable,
    execution::SessionStateBuilder,
    prelude::{SessionConfig, SessionContext},
};
use futures::future::try_join_all;
use prost::Message;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use crate::{
    codec::{ClusterLogicalCodec, ClusterPhysicalCodec},
    node::Node,
    part::{Part, external},
    rerun::RerunPlanner,
    table::ClusterTable,
    wire::{DESCRIBE, DescribeAnswer, DescribeRequest, LIST, ListAnswer, MirrorMessage, TableId, TableMessage},
};

/// How long a node may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// How often an idle connection is tested.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long such a test may take. The executor may be busy.
const SILENCE: Duration = Duration::from_secs(20);
/// How long a node may take to publish its part of a table.
const PATIENCE: Duration = Duration::from_mins(10);
/// Most bytes of a description: statistics of thousands of columns.
const MAX_ANSWER: usize = 64 << 20;

/// The configuration of a session: Ballista's, with its static planner.
///
/// The adaptive planner, Ballista's default, plans some joins with a table without rows again and again, until the
/// executors die (docs/CLUSTER.md). `ballista.planner.adaptive.enabled` turns it on.
#[must_use]
pub fn session_config() -> SessionConfig {
    SessionConfig::new_with_ballista().with_ballista_adaptive_query_planner(false)
}

/// Connects to the scheduler at `host:port`, and to one executor of each node, also at `host:port`.
///
/// The frames of the nodes are tables, as [`ClusterCatalog`] describes. `config` is [`session_config`], with your settings.
///
/// If an executor is lost, a query that had a task on it runs again as another job, at most three times, unless it has
/// returned rows.
///
/// # Errors
///
/// If a node does not answer, or `ballista.client.pull` is set. Whether the scheduler answers is known at the first query.
pub async fn connect(scheduler: &str, nodes: &[String], config: SessionConfig) -> Result<SessionContext> {
    if config.ballista_config().client_pull() {
        return plan_err!(
            "`ballista.client.pull` hides why a query was lost, which is necessary to run it again; leave it out"
        );
    }
    let config = config
        .with_ballista_logical_extension_codec(Arc::new(ClusterLogicalCodec::default()))
        .with_ballista_physical_extension_codec(Arc::new(ClusterPhysicalCodec::default()))
        .with_default_catalog_and_schema("coframe", "public")
        .with_create_default_catalog_and_schema(false);
    let state = SessionStateBuilder::new().with_config(config).with_default_features().build();
    let state = SessionContext::remote_with_state(&format!("df://{scheduler}"), state).await?.state();
    let (session, planner) = (state.session_id().to_owned(), RerunPlanner(state.query_planner().clone()));
    let state = SessionStateBuilder::new_from_existing(state).with_session_id(session);
    let context = SessionContext::new_with_state(state.with_query_planner(Arc::new(planner)).build());
    context.register_catalog("coframe", Arc::new(ClusterCatalog::connect(nodes).await?));
    Ok(context)
}

/// How many partitions the executors at these addresses, `host:port` each, compute at a time.
///
/// A query with as many partitions (`with_target_partitions`) uses all cores, and has no more tasks than necessary.
///
/// # Errors
///
/// If a node does not answer.
pub async fn cores(nodes: &[String]) -> Result<usize> {
    let peers = nodes.iter().map(|address| Peer::new(address)).collect::<Result<Vec<_>>>()?;
    let lists = peers.iter().map(|node| node.ask::<ListAnswer>(LIST, DescribeRequest::default()));
    let lists = try_join_all(lists).await?;
    Ok(lists.into_iter().map(|list| list.cores as usize).sum::<usize>().max(1))
}

/// The frames of all nodes of a cluster as tables of one schema, `public`.
///
/// The frames of one name are one table: those of several nodes are its parts, in the order of the nodes. If a node has a
/// mirror of another node's frame, from `coframe pull` or from a query, it is a second home of that part and adds no rows.
/// Every statement asks all nodes, so it reads the versions that are the latest at that time. `"flights@7"` is version 7 of
/// each node that has it.
///
/// If a node does not answer, or has a mirror of a version that is not the latest of its origin, the statement fails
/// instead of returning fewer rows.
#[derive(Debug)]
pub struct ClusterCatalog {
    schema: Arc<ClusterSchema>,
}

#[derive(Debug)]
struct ClusterSchema {
    nodes: Vec<Peer>,
    /// Those of the start; a name that is published later is found too.
    names: Vec<String>,
    /// Files that `CREATE EXTERNAL TABLE` named.
    files: Mutex<HashMap<String, Arc<dyn TableProvider>>>,
    /// The node of this process, if it reads frames.
    local: Option<Arc<Node>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Peer {
    address: String,
    client: FlightServiceClient<Channel>,
}

impl Peer {
    fn new(address: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(external)?;
        let endpoint = endpoint.tcp_nodelay(true).connect_timeout(DEADLINE);
        // Finds a machine that is gone while it copies a table.
        let endpoint = endpoint.http2_keep_alive_interval(KEEP_ALIVE).keep_alive_timeout(SILENCE);
        let channel = endpoint.connect_lazy();
        let client = FlightServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER);
        Ok(Self { address: address.to_owned(), client })
    }

    /// Describes a frame of the node, the latest version if none is given.
    pub(crate) async fn describe(&self, name: &str, version: Option<u64>) -> Result<DescribeAnswer> {
        self.ask(DESCRIBE, DescribeRequest { name: name.to_owned(), version }).await
    }

    pub(crate) async fn ask<A: Message + Default>(&self, action: &str, request: impl Message) -> Result<A> {
        self.ask_within(DEADLINE, action, request).await
    }

    /// As `ask`, for a call that copies a table.
    pub(crate) async fn ask_patiently<A: Message + Default>(&self, action: &str, request: impl Message) -> Result<A> {
        self.ask_within(PATIENCE, action, request).await
    }

    async fn ask_within<A: Message + Default>(
        &self,
        limit: Duration,
        action: &str,
        request: impl Message,
    ) -> Result<A> {
        let address = &self.address;
        let action = Action { r#type: action.to_owned(), body: request.encode_to_vec().into() };
        let mut client = self.client.clone();
        let asked = async move {
            let mut answers = client.do_action(action).await?.into_inner();
            answers.message().await
        };
        let answer = tokio::time::timeout(limit, asked).await;
        let answer = answer.map_err(|_| {
            exec_datafusion_err!(
                "the node at {address} did not answer in {limit:?}; if its machine is not busy, restart its executor"
            )
        })?;
        let answer = answer.map_err(|status| match status.code() {
            Code::Unavailable => exec_datafusion_err!(
                "the node at {address} cannot be reached: {}; start its executor, or leave it out of the nodes",
                status.message()
            ),
            Code::Unimplemented => exec_datafusion_err!(
                "{address} is not an executor of coframe-cluster, or one of another version; name the --port of an executor"
            ),
            // What the node says has the next step.
            Code::FailedPrecondition => exec_datafusion_err!("the node at {address}: {}", status.message()),
            code => exec_datafusion_err!(
                "the node at {address} failed ({code}): {}; see the log of its executor",
                status.message()
            ),
        })?;
        let answer = answer.ok_or_else(|| exec_datafusion_err!("the node at {address} sent no answer"))?;
        A::decode(answer.body).map_err(external)
    }
}

impl ClusterCatalog {
    /// Connects to the executors of all nodes, `host:port` each.
    ///
    /// # Errors
    ///
    /// If an address is not valid, or a node does not answer within 5 seconds.
    pub async fn connect(nodes: &[String]) -> Result<Self> {
        Self::connect_from(nodes, None).await
    }

    /// As [`Self::connect`], for a process that is itself a node and reads the tables.
    pub(crate) async fn connect_from(nodes: &[String], local: Option<Arc<Node>>) -> Result<Self> {
        if nodes.is_empty() {
            return plan_err!("a cluster needs at least one node: name the address of its executor");
        }
        let nodes = nodes.iter().map(|address| Peer::new(address)).collect::<Result<Vec<_>>>()?;
        let lists = nodes.iter().map(|node| node.ask::<ListAnswer>(LIST, DescribeRequest::default()));
        let mut names: Vec<String> = try_join_all(lists).await?.into_iter().flat_map(|list| list.names).collect();
        names.sort_unstable();
        names.dedup();
        Ok(Self { schema: Arc::new(ClusterSchema { nodes, names, files: Mutex::default(), local }) })
    }

    /// The names of the nodes, in their order.
    pub(crate) async fn node_names(&self) -> Result<Vec<String>> {
        let answers = try_join_all(self.nodes().iter().map(|node| node.describe("", None))).await?;
        Ok(answers.into_iter().map(|answer| answer.node).collect())
    }

    pub(crate) fn nodes(&self) -> &[Peer] {
        &self.schema.nodes
    }

    /// Whether `CREATE EXTERNAL TABLE` named files so.
    pub(crate) fn has_files(&self, name: &str) -> bool {
        self.schema.files().contains_key(name)
    }

    /// Forgets the files of this name. Whether there were any.
    pub(crate) fn forget_files(&self, name: &str) -> bool {
        self.schema.files().remove(name).is_some()
    }

    /// The table of a name, for a program that adds it to a session by itself; `None` if no node has it.
    ///
    /// # Errors
    ///
    /// If a node does not answer, or if the frames of this name are not one table.
    pub async fn table(&self, name: &str) -> Result<Option<ClusterTable>> {
        self.schema.find(name).await
    }
}

impl CatalogProvider for ClusterCatalog {
    fn schema_names(&self) -> Vec<String> {
        vec!["public".to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        (name == "public").then(|| self.schema.clone() as _)
    }
}

impl ClusterSchema {
    fn files(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<dyn TableProvider>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn find(&self, table: &str) -> Result<Option<ClusterTable>> {
        let (name, version) = match table.split_once('@').map(|(name, version)| (name, version.parse())) {
            Some((name, Ok(version))) => (name, Some(version)),
            _ => (table, None),
        };
        let answers = self.nodes.iter().map(|node| node.describe(name, version));
        Ok(merge(name, try_join_all(answers).await?)?.map(|table| table.at(self.local.clone())))
    }
}

#[async_trait]
impl SchemaProvider for ClusterSchema {
    fn table_names(&self) -> Vec<String> {
        self.names.clone()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(files) = self.files().get(name).cloned() {
            return Ok(Some(files));
        }
        Ok(self.find(name).await?.map(|table| Arc::new(table) as _))
    }

    /// `CREATE EXTERNAL TABLE`: files that every node reads at the same path.
    fn register_table(&self, name: String, table: Arc<dyn TableProvider>) -> Result<Option<Arc<dyn TableProvider>>> {
        if !table.is::<ListingTable>() {
            return not_impl_err!(
                "`{name}` cannot be created: a cluster has frames, which `create_table` writes, and files"
            );
        }
        Ok(self.files().insert(name, table))
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let files = self.files().remove(name);
        if files.is_none() {
            return not_impl_err!("`{name}` cannot be removed here: it is frames on nodes, which `drop_table` removes");
        }
        Ok(files)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name) || self.files().contains_key(name)
    }
}

/// The answers of all nodes about one name as one table; `None` if no node has it.
fn merge(name: &str, answers: Vec<DescribeAnswer>) -> Result<Option<ClusterTable>> {
    let mut found: Vec<(SchemaRef, Part, bool)> = Vec::new();
    let mut tables: HashMap<u128, TableId> = HashMap::new();
    let mut mirrored: Vec<MirrorMessage> = Vec::new();
    let mut nodes: HashMap<String, Option<u128>> = HashMap::new();
    for answer in answers {
        let DescribeAnswer { table, is_mirror, node, mirrors, written } = answer;
        let table = table.map(TableMessage::table).transpose()?;
        let id = table.as_ref().and_then(|(_, parts)| parts.first()).map(|part| part.id);
        // Two executors of one node have the same store, and so the same answer.
        if let Some(known) = nodes.insert(node.clone(), id) {
            if known != id {
                return plan_err!(
                    "two executors of the node `{node}` have different frames `{name}`; start the executors of each \
                     machine with another --node"
                );
            }
            continue;
        }
        mirrored.extend(mirrors);
        tables.extend(id.zip(written));
        let Some((schema, parts)) = table else { continue };
        found.extend(parts.into_iter().map(|part| (schema.clone(), part, is_mirror)));
    }
    if found.is_empty() {
        return Ok(None);
    }
    let schema = columns(&found)?;
    // Originals first. Without one, all mirrors must be of the same segment.
    let (mirrors, originals): (Vec<_>, Vec<_>) = found.into_iter().partition(|(.., is_mirror)| *is_mirror);
    let is_original = !originals.is_empty();
    let mut parts: Vec<Part> = Vec::new();
    for (_, part, is_mirror) in originals.into_iter().chain(mirrors) {
        let is_only_mirror = parts.is_empty() && !is_original;
        match parts.iter_mut().find(|known| known.id == part.id) {
            Some(known) => known.homes.extend(part.homes),
            None if !is_mirror || is_only_mirror => parts.push(part),
            None => {
                return plan_err!(
                    "{} is a mirror of a version of `{name}` that no other node has; pull it again, or remove it",
                    label(&part)
                );
            }
        }
    }
    check_complete(name, &parts, &tables)?;
    for MirrorMessage { id, home } in mirrored {
        let part = parts.iter_mut().find(|part| part.id.to_be_bytes() == *id);
        if let (Some(part), Some(home)) = (part, home) {
            part.homes.push(home.home());
        }
    }
    ClusterTable::new(schema, parts).map(Some)
}

/// Refuses a table that a `CREATE TABLE` wrote if some of its parts are missing.
fn check_complete(name: &str, parts: &[Part], tables: &HashMap<u128, TableId>) -> Result<()> {
    let Some((written, table)) = parts.iter().find_map(|part| Some((part, tables.get(&part.id)?))) else {
        return Ok(());
    };
    let found = parts.iter().filter(|part| tables.get(&part.id) == Some(table)).count();
    if found as u64 == table.parts && found == parts.len() {
        return Ok(());
    }
    plan_err!(
        "{} is one of {} parts that CREATE TABLE wrote, of which {found} are here, with {} other frames `{name}`; the \
         statement may still run, or was killed, or `{name}` was published or removed on a node",
        label(written),
        table.parts,
        parts.len() - found
    )
}

/// The columns that all parts have. One that has nulls in any of them may have nulls.
fn columns(found: &[(SchemaRef, Part, bool)]) -> Result<SchemaRef> {
    let (first, one, _) = &found[0];
    let mut fields: Vec<_> = first.fields().iter().map(|field| field.as_ref().clone()).collect();
    for (schema, part, _) in found {
        let alike = |(left, right): (&arrow::datatypes::Field, &Arc<arrow::datatypes::Field>)| {
            left.name() == right.name() && left.data_type() == right.data_type()
        };
        if fields.len() != schema.fields().len() || !fields.iter().zip(schema.fields()).all(alike) {
            return plan_err!(
                "{} and {} have different columns, and cannot be parts of one table; publish one of them under another name",
                label(one),
                label(part)
            );
        }
        for (field, other) in fields.iter_mut().zip(schema.fields()) {
            let is_nullable = field.is_nullable() || other.is_nullable();
            field.set_nullable(is_nullable);
        }
    }
    Ok(Arc::new(Schema::new_with_metadata(fields, first.metadata().clone())))
}

fn label(part: &Part) -> String {
    format!("`{}` of node `{}`", part.label(), part.nodes().first().copied().unwrap_or_default())
}
