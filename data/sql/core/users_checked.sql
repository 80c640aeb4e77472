-- Every landed customer row with the reason why it may not enter core.users. The last row of an identifier wins; of
-- those of a person the last one that has attributes gives them, and one refusal of consent refuses for all. A consent
-- that cannot be read counts as refused, and so does a row without the key of its source's consent.
with placed as (
    select
        r.*,
{% if is_resolved %}
        coalesce(i.user_id, r.user_id) as person_id,
{% else %}
        r.user_id as person_id,
{% endif %}
        row_number() over (partition by r.user_id order by r.file desc, r.line desc, r.file_sha256) as place_in_identifier
    from landed.users as r
{% if is_resolved %}
    left join core.identities as i on r.user_id = i.identifier
{% endif %}
),
judged as (
    select
        p.*,
        case
            when p.fault is not null then p.fault
            when p.user_id is null then 'missing_user_id'
            when p.consent is not null and lower(trim(p.consent, ' ')) not in ('1', 'true', 'yes', 'y', '0', 'false', 'no', 'n')
                then 'unparsable_consent'
            when p.place_in_identifier > 1 then 'superseded'
        end as fault_found,
        p.place_in_identifier = 1 and (
            lower(trim(p.consent, ' ')) not in ('1', 'true', 'yes', 'y')
            or (
                p.fault = 'missing_key' and p.consent is null
                and p.source in ({% for name in asking %}'{{ name }}', {% endfor %}'')
            )
        ) as refuses
    from placed as p
),
ranked as (
    select
        j.*,
        row_number() over (
            partition by j.fault_found is null, j.person_id
            order by case when j.attributes is null then 1 else 0 end, j.file desc, j.line desc, j.file_sha256, j.user_id
        ) as place_in_person,
        max(
            case
                when j.refuses and coalesce(j.fault_found, 'unparsable_consent') in ('unparsable_consent', 'missing_key')
                    then 1
                else 0
            end
        )
            over (partition by j.person_id) as n_refusals
    from judged as j
)
select
    k.person_id as user_id,
    k.attributes,
    k.consent,
    k.n_refusals = 0 as consents,
    k.source,
    k.file,
    k.file_sha256,
    k.line,
    case
        when k.fault_found is not null then k.fault_found
        when k.place_in_person > 1 then 'superseded'
    end as reason,
    case
        when k.user_id is null then 'user_id'
        when k.consent is not null and lower(trim(k.consent, ' ')) not in ('1', 'true', 'yes', 'y', '0', 'false', 'no', 'n')
            then 'consent'
    end as column_name,
    k.consent as fault_value
from ranked as k
