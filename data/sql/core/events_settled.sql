-- Judged rows with the values that they enter with: as they came, or as a policy repairs them. `{{ imputed }}` holds what
-- is interpolated; where it says nothing, the contract's default for that fault holds.
with judged as (
    {{ judged }}
),
repaired as (
    select
        r.*,
        {% for c in numbers %}
        case r.{{ c.name }}_policy
            when 'constant' then case r.{{ c.name }}_fault
                {% for occasion, constant in c.constant.items() %}
                when '{{ occasion }}' then cast({{ constant }} as double)
                {% endfor %}
            end
            when 'winsorise' then greatest({{ c.minimum }}, least({{ c.maximum }}, r.{{ c.name }}_number))
            when 'interpolate' then coalesce(k.{{ c.name }}, case when r.{{ c.name }}_fault = 'missing' then {{ c.default }} end)
            else coalesce(r.{{ c.name }}_number, {{ c.default }})
        end as {{ c.name }}_given{{ '' if loop.last else ',' }}
        {% endfor %}
    from judged as r
    left join {{ imputed }} as k
        on r.outcome is null and r.user_id = k.user_id and r.event_id = k.event_id and r.day = k.day
)
select
    r.*,
    case
        when r.outcome is not null then r.outcome
        {% for c in numbers %}
        when r.{{ c.name }}_given is null and r.{{ c.name }}_fault = 'unparsable' then 'unparsable_{{ c.name }}'
        when r.{{ c.name }}_given is null and r.{{ c.name }}_number < {{ c.minimum }} then 'negative_{{ c.name }}'
        when r.{{ c.name }}_given is null then '{{ c.name }}_out_of_range'
        {% endfor %}
    end as reason,
    {% for c in texts %}
    case
        when r.{{ c.name }} is null and {{ c.expected }} and {{ c.policy.missing }} = 'constant' then {{ c.constant.missing }}
        else r.{{ c.name }}
    end as {{ c.name }}_given,
    {% endfor %}
    nullif(concat_ws(
        ',',
        {% for c in texts %}
        case when r.{{ c.name }} is null and {{ c.expected }} and {{ c.policy.missing }} = 'constant' then '{{ c.name }}' end,
        {% endfor %}
        {% for c in numbers %}
        case when r.{{ c.name }}_fault is not null then '{{ c.name }}' end{{ '' if loop.last else ',' }}
        {% endfor %}
    ), '') as imputed_columns
from repaired as r
