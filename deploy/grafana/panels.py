"""What a dashboard is put together from: panels, rows, variables, on a grid of 24 columns."""

RUNBOOKS = "https://docs.example.com/holdfast/runbooks"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def thresholds(*steps):
    """Colours from values on; the first has none."""
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for value, color in steps]}


FINE = thresholds((None, "green"))
NONE_IS_FINE = thresholds((None, "green"), (1, "red"))
ONE_IS_FINE = thresholds((None, "red"), (1, "green"))


def links(*runbooks):
    return [{"title": f"Runbook: {name}", "url": f"{RUNBOOKS}/{name}.html", "targetBlank": True} for name in runbooks]


def targets(queries):
    return [
        {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query, "legendFormat": legend}
        for index, (query, legend) in enumerate(queries)
    ]


def panel(kind, title, description, queries, **more):
    """`more`: unit, limits, runbooks, width, height, options, custom, decimals, maximum."""
    defaults = {"unit": more.get("unit", "short"), "thresholds": more.get("limits", FINE), "mappings": []}
    defaults["color"] = {"mode": "thresholds" if kind in ("stat", "gauge") else "palette-classic"}
    defaults["custom"] = more.get("custom", {})
    for name, member in (("decimals", "decimals"), ("maximum", "max"), ("minimum", "min")):
        if name in more:
            defaults[member] = more[name]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "targets": targets(queries),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": more.get("options", {}),
        "links": links(*more.get("runbooks", ())),
        "gridPos": {"w": more.get("width", 8), "h": more.get("height", 8)},
    }


def stat(title, description, query, legend="", **more):
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "background",
        "graphMode": "area",
        "textMode": "auto",
    }
    more = {"width": 4, "height": 4, "options": options, **more}
    for target in (result := panel("stat", title, description, [(query, legend)], **more))["targets"]:
        target["instant"] = False
    return result


def graph(title, description, *queries, **more):
    options = {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    style = "area" if "limits" in more else "off"
    custom = {"fillOpacity": 10, "lineWidth": 1, "showPoints": "never", "thresholdsStyle": {"mode": style}}
    custom |= {"stacking": {"mode": "normal" if more.get("stacked") else "none", "group": "A"}}
    return panel("timeseries", title, description, list(queries), **{"options": options, "custom": custom, **more})


def states(title, description, *queries, **more):
    """One lane a series."""
    custom = {"fillOpacity": 70, "lineWidth": 0}
    options = {"mergeValues": True, "showValue": "never", "legend": {"displayMode": "list", "placement": "bottom"}}
    more = {"limits": NONE_IS_FINE, "custom": custom, "options": options, **more}
    result = panel("state-timeline", title, description, list(queries), **more)
    result["fieldConfig"]["defaults"]["color"] = {"mode": "thresholds"}
    return result


def firing(face):
    """The alerts of a face that fire now."""
    query = f'ALERTS{{alertstate="firing", face=~"{face}", instance=~"$instance|"}}'
    result = panel(
        "table",
        "Alerts that fire",
        "Each has a runbook by its name.",
        [(query, "")],
        width=24,
        height=5,
        options={"showHeader": True},
        runbooks=("index",),
    )
    result["targets"][0] |= {"instant": True, "format": "table"}
    hidden = {name: True for name in ("Time", "Value", "__name__", "alertstate", "job", "face")}
    result["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden}}]
    return result


def variable(name, label, query):
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "sort": 1,
    }


def source_variable():
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "current": {},
        "includeAll": False,
        "multi": False,
    }


def placed(rows):
    """Panels in reading order, each row with its heading."""
    panels, y = [], 0
    for title, members in rows:
        grid = {"x": 0, "y": y, "w": 24, "h": 1}
        panels.append({"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": grid})
        x, y, tallest = 0, y + 1, 0
        for member in members:
            grid = member["gridPos"]
            if x + grid["w"] > 24:
                x, y, tallest = 0, y + tallest, 0
            grid |= {"x": x, "y": y}
            x, tallest = x + grid["w"], max(tallest, grid["h"])
            panels.append(member)
        y += tallest
    for number, member in enumerate(panels, start=1):
        member["id"] = number
    return panels


def dashboard(uid, title, description, variables, rows):
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "tags": ["holdfast"],
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "timezone": "browser",
        "annotations": {"list": []},
        "templating": {"list": [source_variable(), *variables]},
        "links": [
            {"type": "dashboards", "title": "Holdfast", "tags": ["holdfast"], "asDropdown": False, "keepTime": True},
            {"type": "link", "title": "Runbooks", "url": f"{RUNBOOKS}/index.html", "targetBlank": True},
        ],
        "panels": placed(rows),
    }
