"""The experiments of a tracking store: one a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pebench.tracking.address import artifact_folder, experiment_key
from pebench.tracking.paging import all_pages
from pebench.tracking.record import UNSORTED, Headline
from pebench.tracking.view import TAG, TASKS, page, tasks, view

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_PRIMARY = "mlflow.experiment.primaryMetric.name"
_GREATER = "mlflow.experiment.primaryMetric.greaterIsBetter"


class Experiments:
    """All active experiments, read once.

    Args:
        client: of the store.
        uri: its address.
    """

    def __init__(self, client: MlflowClient, uri: str) -> None:
        self._client = client
        self._uri = uri
        found = all_pages(lambda token: client.search_experiments(page_token=token))
        self._by_name = {experiment.name: experiment for experiment in found}

    def ids(self) -> list[str]:
        """The store's ids of all of them."""
        return [experiment.experiment_id for experiment in self._by_name.values()]

    def key(self, experiment_id: str) -> str:
        """See `pebench.tracking.address.experiment_key`."""
        created = {e.experiment_id: e.creation_time for e in self._by_name.values()}
        return experiment_key(experiment_id, created.get(experiment_id))

    def keys(self) -> frozenset[str]:
        """The keys of all of them."""
        return frozenset(experiment_key(e.experiment_id, e.creation_time) for e in self._by_name.values())

    def provide(self, name: str) -> str:
        """The id of the experiment of that name, which is made, or taken back out of the bin, if need be."""
        if name not in self._by_name:
            binned = self._client.get_experiment_by_name(name)
            if binned is None:
                experiment_id = self._create(name)
            else:
                experiment_id = binned.experiment_id
                if binned.lifecycle_stage != "active":
                    self._client.restore_experiment(experiment_id)
            self._by_name[name] = self._client.get_experiment(experiment_id)
        experiment_id = self._by_name[name].experiment_id
        return experiment_id

    def arrange(self, name: str, headline: Headline) -> None:
        """Has MLflow's pages show an experiment by its scores."""
        experiment = self._by_name[name]
        tags = {
            _PRIMARY: experiment.tags.get(_PRIMARY, headline.metric),
            _GREATER: experiment.tags.get(_GREATER, str(headline.higher_is_better)),
            TAG: view(experiment.tags, headline),
            TASKS: tasks(experiment.tags, headline),
        }
        for tag, value in tags.items():
            if experiment.tags.get(tag) != value:
                self._client.set_experiment_tag(experiment.experiment_id, tag, value)
                experiment.tags[tag] = value

    def pages(self) -> dict[str, str]:
        """The address, relative to the server's, at which each experiment with scores is shown, by name."""
        arranged = (e for e in self._by_name.values() if TAG in e.tags)
        return {e.name: page(e.experiment_id) for e in sorted(arranged, key=lambda e: str(e.name))}

    def _create(self, name: str) -> str:
        artifacts = artifact_folder(self._uri)
        return self._client.create_experiment(
            name,
            artifact_location=(artifacts / name).as_uri() if artifacts is not None else None,
            tags={"mlflow.experimentKind": "custom_model_development", "mlflow.note.content": _note(name)},
        )


def _note(name: str) -> str:
    if name == UNSORTED:
        return "Runs that belong to no sweep."
    return (
        f"Runs of the sweep '{name}'. A run that belongs to several sweeps is kept in the experiment of the "
        "one that comes first by name; its tag `sweep` names them all."
    )
