//! What a node answers on the port of its executor: Ballista's shuffle, and descriptions of the frames of its store.

use std::sync::Arc;

use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, PollInfo,
    Result as ActionResult, SchemaResult, Ticket, flight_service_server::FlightService,
};
use ballista_executor::flight_service::BallistaFlightService;
use futures::stream;
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    node::{Description, Node},
    part::Home,
    wire::{
        COMMIT, CommitRequest, DESCRIBE, DROP, DescribeAnswer, DescribeRequest, DoneAnswer, DropRequest, HomeMessage,
        LIST, ListAnswer, MirrorMessage, TableMessage,
    },
};

/// Ballista's service for shuffles, with more actions: they describe a frame of the node, list their names, and
/// publish or remove what a `CREATE TABLE` wrote.
#[derive(Clone)]
pub struct NodeService {
    shuffle: BallistaFlightService,
    node: Arc<Node>,
    cores: u32,
}

impl NodeService {
    /// A service for the shuffle files in `work_dir` of an executor that computes `cores` partitions at a time, and for the
    /// store of its node.
    #[must_use]
    pub fn new(work_dir: String, node: Arc<Node>, cores: u32) -> Self {
        Self { shuffle: BallistaFlightService::new(work_dir), node, cores }
    }

    async fn describe(&self, request: DescribeRequest) -> Result<Vec<u8>, Status> {
        let node = self.node.clone();
        let answer = blocking(move || {
            let mut answer = DescribeAnswer { node: node.name().to_owned(), ..DescribeAnswer::default() };
            let mirrors = node.mirrors()?.into_iter();
            let message = |(id, home): (u128, Home)| MirrorMessage {
                id: id.to_be_bytes().to_vec(),
                home: Some(HomeMessage::of(&home)),
            };
            answer.mirrors = mirrors.map(message).collect();
            if let Some(Description { schema, part, is_mirror, written }) =
                node.describe(&request.name, request.version)?
            {
                answer.table = Some(TableMessage::of(&schema, &[part])?);
                (answer.is_mirror, answer.written) = (is_mirror, written);
            }
            Ok(answer)
        });
        Ok(answer.await?.encode_to_vec())
    }

    async fn commit(&self, request: CommitRequest) -> Result<Vec<u8>, Status> {
        let node = self.node.clone();
        blocking(move || node.commit(&request)).await?;
        Ok(DoneAnswer {}.encode_to_vec())
    }

    async fn drop_parts(&self, request: DropRequest) -> Result<Vec<u8>, Status> {
        let node = self.node.clone();
        blocking(move || node.drop_parts(&request)).await?;
        Ok(DoneAnswer {}.encode_to_vec())
    }

    async fn list(&self) -> Result<Vec<u8>, Status> {
        let (node, cores) = (self.node.clone(), self.cores);
        Ok(blocking(move || Ok(ListAnswer { names: node.names()?, cores })).await?.encode_to_vec())
    }
}

fn decoded<M: Message + Default>(action: &Action) -> Result<M, Status> {
    M::decode(action.body.clone()).map_err(|error| Status::invalid_argument(error.to_string()))
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> datafusion::common::Result<T> + Send + 'static,
) -> Result<T, Status> {
    let called = tokio::task::spawn_blocking(call).await;
    let called = called.map_err(|_| Status::internal("the call was cut off"))?;
    called.map_err(|error| Status::failed_precondition(error.to_string()))
}

type Ballista = BallistaFlightService;

#[tonic::async_trait]
impl FlightService for NodeService {
    type HandshakeStream = <Ballista as FlightService>::HandshakeStream;
    type ListFlightsStream = <Ballista as FlightService>::ListFlightsStream;
    type DoGetStream = <Ballista as FlightService>::DoGetStream;
    type DoPutStream = <Ballista as FlightService>::DoPutStream;
    type DoExchangeStream = <Ballista as FlightService>::DoExchangeStream;
    type DoActionStream = <Ballista as FlightService>::DoActionStream;
    type ListActionsStream = <Ballista as FlightService>::ListActionsStream;

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        let action = request.get_ref();
        let body = match action.r#type.as_str() {
            DESCRIBE => self.describe(decoded(action)?).await?,
            COMMIT => self.commit(decoded(action)?).await?,
            DROP => self.drop_parts(decoded(action)?).await?,
            LIST => self.list().await?,
            _ => return self.shuffle.do_action(request).await,
        };
        let result = ActionResult { body: body.into() };
        Ok(Response::new(Box::pin(stream::iter([Ok(result)]))))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        self.shuffle.do_get(request).await
    }

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        self.shuffle.handshake(request).await
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        self.shuffle.list_flights(request).await
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        self.shuffle.get_flight_info(request).await
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        self.shuffle.poll_flight_info(request).await
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        self.shuffle.get_schema(request).await
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        self.shuffle.do_put(request).await
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        self.shuffle.do_exchange(request).await
    }

    async fn list_actions(&self, request: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        let _ = request;
        let actions = [
            ("IO_BLOCK_TRANSPORT", "bytes of a shuffle file"),
            (DESCRIBE, "columns, rows, batches and statistics of a frame of this node"),
            (COMMIT, "publish what this node wrote for a table"),
            (DROP, "remove what a statement wrote on this node"),
            (LIST, "the names of the frames of this node, and the cores of the executor"),
        ];
        let of = |(name, text): (&str, &str)| Ok(ActionType { r#type: name.into(), description: text.into() });
        Ok(Response::new(Box::pin(stream::iter(actions.map(of)))))
    }
}
