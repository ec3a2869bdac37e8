"""What the dashboards are made of: queries, panels, variables, and the grid that they stand on.

The data sources are variables, so that a dashboard works in any Grafana. Titles are in English and, where that differs,
in French.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any, Literal

from grafana_foundation_sdk.builders import common, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import dashboard as made
from grafana_foundation_sdk.models.common import (
    DataSourceRef,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS = DataSourceRef("prometheus", "${prometheus}")
POSTGRES = DataSourceRef("grafana-postgresql-datasource", "${postgres}")
WIDTH = 24
SHARE, SECONDS, RATE, BYTES, COUNT = "percentunit", "s", "reqps", "bytes", "short"
# The legend of a curve that shows where an alert or a trigger stands.
THRESHOLD = "threshold · seuil"

# A builder of the SDK's: its kinds have no base class that would know what they have in common.
Panel = Any
# Of the time range, of its last moment, or that as a table.
Shape = Literal["series", "value", "table"]
Row = tuple[int, Sequence[tuple[int, Panel]]]
GREEN, ORANGE, RED = "green", "orange", "red"


@dataclass(frozen=True)
class Prom:
    """A query to Prometheus; `legend` names each series, as `{{label}}` says."""

    expr: str
    legend: str = "__auto"

    def target(self, ref: str, shape: Shape) -> Builder[Dataquery]:
        """As a panel's query."""
        query = prometheus.Dataquery().datasource(PROMETHEUS).ref_id(ref).expr(self.expr).legend_format(self.legend)
        if shape == "series":
            return query.range()
        return query.instant().format(PromQueryFormat.TABLE if shape == "table" else PromQueryFormat.TIME_SERIES)


@dataclass(frozen=True)
class Sql:
    """A query to PostgreSQL. Of a time range: columns `time`, `metric` (the series) and `value`."""

    text: str

    def target(self, ref: str, shape: Shape) -> Builder[Dataquery]:
        """As a panel's query."""
        return _SqlTarget(ref, " ".join(self.text.split()), "time_series" if shape == "series" else "table")


@dataclass
class _SqlTarget(Builder[Dataquery], Dataquery):
    """The SDK has no builder for this data source: it asks for nothing but `to_json`."""

    ref: str
    text: str
    format: str

    def build(self) -> Dataquery:
        return self

    def to_json(self) -> dict[str, object]:
        return {
            "datasource": POSTGRES,
            "refId": self.ref,
            "format": self.format,
            "rawQuery": True,
            "editorMode": "code",
            "rawSql": self.text,
        }


Query = Prom | Sql


@dataclass(frozen=True)
class Steps:
    """Colours of a value: that of the first, and from each value on another."""

    base: str = GREEN
    others: Mapping[float, str] = field(default_factory=dict)

    def built(self) -> build.ThresholdsConfig:
        """As Grafana's thresholds."""
        steps = [made.Threshold(None, self.base), *(made.Threshold(at, color) for at, color in self.others.items())]
        return build.ThresholdsConfig().mode(made.ThresholdsMode.ABSOLUTE).steps(steps)


GOOD_WHEN_ZERO = Steps(GREEN, {1: RED})
PLAIN = Steps("blue")


def curves(
    title: str, description: str, *queries: Query, unit: str = COUNT, most: float | None = None, stacked: bool = False
) -> Panel:
    """Values over time; series whose name ends with THRESHOLD are dashed lines."""
    panel = _asked(timeseries.Panel().title(title).description(description), queries, "series")
    panel = panel.unit(unit).min(0).line_width(1.5).fill_opacity(25 if stacked else 8).span_nulls(300_000.0)
    panel = panel.show_points(VisibilityMode.AUTO).no_value("–")
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    panel = panel.legend(legend.show_legend(True))
    panel = panel.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    if most is not None:
        panel = panel.max(most)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    dashed = {
        "color": {"mode": "fixed", "fixedColor": RED},
        "custom.lineStyle": {"fill": "dash", "dash": [8, 8]},
        "custom.fillOpacity": 0,
        "custom.stacking": {"mode": "none"},
    }
    return panel.override_by_regexp(f"/{THRESHOLD}$/", _properties(dashed))


def number(title: str, description: str, query: Query, *, unit: str = COUNT, steps: Steps = PLAIN) -> Panel:
    """One value, coloured; several series make several."""
    panel = _asked(stat.Panel().title(title).description(description), [query], "value")
    reduce = common.ReduceDataOptions().calcs(["lastNotNull"])
    return panel.unit(unit).thresholds(steps.built()).reduce_options(reduce).no_value("–")


def rows(
    title: str,
    description: str,
    *queries: Query,
    columns: Mapping[str, Mapping[str, Any]] | None = None,
    hidden: Iterable[str] = (),
) -> Panel:
    """A table; several queries are joined by what they have in common. `columns` has properties of columns."""
    panel = _asked(table.Panel().title(title).description(description), queries, "table").no_value("–")
    if len(queries) > 1:
        panel = panel.with_transformation(made.DataTransformerConfig(id_val="merge", options={}))
    if names := list(hidden):
        left_out = {"excludeByName": dict.fromkeys(names, True)}
        panel = panel.with_transformation(made.DataTransformerConfig(id_val="organize", options=left_out))
    for name, properties in (columns or {}).items():
        panel = panel.override_by_name(name, _properties(properties))
    return panel


def states(title: str, description: str, *queries: Query, mapped: Mapping[int, tuple[str, str]]) -> Panel:
    """Bands of colour over time; `mapped` says what each value means, and its colour."""
    panel = _asked(statetimeline.Panel().title(title).description(description), queries, "series")
    meanings = {str(value): made.ValueMappingResult(text, color) for value, (text, color) in mapped.items()}
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    panel = panel.mappings([made.ValueMap(meanings)]).legend(legend.show_legend(False)).no_value("–")
    return panel.show_value(VisibilityMode.NEVER).row_height(0.8).merge_values(True)


def _asked(panel: Panel, queries: Sequence[Query], shape: Shape) -> Panel:
    # One data source a panel: a mixture would need Grafana's own "-- Mixed --".
    [kind] = {type(query) for query in queries}
    panel = panel.datasource(PROMETHEUS if kind is Prom else POSTGRES)
    for ref, query in zip(ascii_uppercase, queries, strict=False):
        panel = panel.with_target(query.target(ref, shape))
    return panel


def _properties(values: Mapping[str, Any]) -> list[made.DynamicConfigValue]:
    return [made.DynamicConfigValue(name, value) for name, value in values.items()]


def board(
    uid: str,
    title: str,
    description: str,
    variables: Sequence[Builder[made.VariableModel]],
    layout: Sequence[Row | str],
    since: str = "now-6h",
) -> made.Dashboard:
    """A dashboard; `layout` has rows of panels from top to bottom, as (height, [(width, panel), ...]), and headings."""
    links = build.DashboardLink("Canari").type(made.DashboardLinkType.DASHBOARDS).tags(["canari"]).as_dropdown(True)
    found = (
        build.Dashboard(title)
        .uid(f"canari-{uid}")
        .description(description)
        .tags(["canari"])
        .readonly()
        .tooltip(made.DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time(since, "now")
        .timezone("browser")
        .version(1)
        .link(links.keep_time(True).include_vars(True))
        .variables([_source("prometheus", PROMETHEUS), _source("postgres", POSTGRES), *variables])
    )
    return _laid_out(found, layout).build()


def _laid_out(found: build.Dashboard, layout: Sequence[Row | str]) -> build.Dashboard:
    top, number_of_panel = 0, 1
    for row in layout:
        if isinstance(row, str):
            place = made.GridPos(h=1, w=WIDTH, x=0, y=top)
            found = found.with_row(build.Row(row).id(number_of_panel).grid_pos(place))
            top, number_of_panel = top + 1, number_of_panel + 1
            continue
        height, panels = row
        left = 0
        for width, panel in panels:
            place = made.GridPos(h=height, w=width, x=left, y=top)
            found = found.with_panel(panel.id(number_of_panel).grid_pos(place))
            left, number_of_panel = left + width, number_of_panel + 1
        top += height
    return found


def _source(name: str, kind: DataSourceRef) -> Builder[made.VariableModel]:
    label = {"prometheus": "Prometheus", "postgres": "PostgreSQL"}[name]
    return build.DatasourceVariable(name).label(label).type(kind.type_val or "")


def series_values(name: str, label: str, metric: str, *, several: bool) -> Builder[made.VariableModel]:
    """A variable with the values of a label of the same name, as a metric has it in Prometheus."""
    query = {"query": f"label_values({metric}, {name})", "refId": name, "qryType": 1}
    return _variable(name, label, query, PROMETHEUS, several=several)


def column_values(name: str, label: str, query: str, *, several: bool) -> Builder[made.VariableModel]:
    """A variable with what a query to PostgreSQL finds: its values, or columns `__text` and `__value`."""
    return _variable(name, label, " ".join(query.split()), POSTGRES, several=several)


def _variable(
    name: str, label: str, query: str | dict[str, object], source: DataSourceRef, *, several: bool
) -> Builder[made.VariableModel]:
    variable = build.QueryVariable(name).label(label).query(query).datasource(source)
    variable = variable.refresh(made.VariableRefresh.ON_TIME_RANGE_CHANGED).multi(several).include_all(several)
    if several:
        variable = variable.current(made.VariableOption(text=["All"], value=["$__all"]))
    return variable
