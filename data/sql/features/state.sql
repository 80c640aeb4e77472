with fresh as (
    select user_id, facet, key, day, 1 as n_days, {{ plain }}, {{ decayed | join(', ') }}
    from {{ days }}
    where day < date '{{ until }}'{% if since %} and day >= date '{{ since }}'{% endif %}
), {% if checkpoint %}held as (
    select
        c.user_id, c.facet, c.key, c.last_day as day, c.n_days, {{ plain_of('c') }},
        {{ moved('c.as_of_utc', end('c.last_day'), 'c.') }},
        t.user_id is null as is_settled
    from {{ checkpoint }} as c
    left join (select distinct user_id, facet, key from fresh) as t
        on t.user_id = c.user_id and t.facet = c.facet and t.key = c.key
), {% endif %}parts as (
    select * from fresh
    {% if checkpoint %}
    union all
    select user_id, facet, key, day, n_days, {{ plain }}, {{ decayed | join(', ') }} from held where not is_settled
    {% endif %}
), dated as (
    select *, max(day) over (partition by user_id, facet, key) as last_day from parts
), anchored as (
    select user_id, facet, key, last_day, n_days, {{ plain }}, {{ moved(end('day'), end('last_day')) }}
    from dated
), sums as (
    select
        user_id,
        facet,
        key,
        last_day,
        cast(sum(n_days) as bigint) as n_days,
        {% for name in counts %}
        cast(sum({{ name }}) as bigint) as {{ name }},
        {% endfor %}
        {% for name in amounts %}
        cast(sum(cast({{ name }} as {{ amount }})) as double) as {{ name }},
        {% endfor %}
        min(first_at_utc) as first_at_utc,
        max(last_at_utc) as last_at_utc,
        {% for name in decayed %}
        cast(sum(cast({{ name }} as {{ share }})) as double) as {{ name }}{{ '' if loop.last else ',' }}
        {% endfor %}
    from anchored
    group by user_id, facet, key, last_day
    {% if checkpoint %}

    union all
    select
        user_id, facet, key, day as last_day, n_days, {{ plain }},
        {% for name in decayed %}
        cast(cast({{ name }} as {{ share }}) as double) as {{ name }}{{ '' if loop.last else ',' }}
        {% endfor %}
    from held
    where is_settled
    {% endif %}
)
select
    user_id, facet, key, last_day, n_days, {{ plain }},
    {{ moved(end('last_day'), instant) }},
    {{ instant }} as as_of_utc
from sums
