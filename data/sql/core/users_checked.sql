-- Every landed customer row with the reason why it may not enter core.users; the last row of a person wins.
with placed as (
    select
        r.*,
        row_number() over (partition by r.user_id order by r.file desc, r.line desc, r.file_sha256) as place_in_user
    from landed.users as r
)
select
    p.*,
    case
        when p.fault is not null then p.fault
        when p.user_id is null then 'missing_user_id'
        when p.consent is not null and lower(trim(p.consent, ' ')) not in ('1', 'true', 'yes', 'y', '0', 'false', 'no', 'n')
            then 'unparsable_consent'
        when p.place_in_user > 1 then 'superseded'
    end as reason,
    case
        when p.user_id is null then 'user_id'
        when p.consent is not null and lower(trim(p.consent, ' ')) not in ('1', 'true', 'yes', 'y', '0', 'false', 'no', 'n')
            then 'consent'
    end as column_name,
    p.consent as fault_value
from placed as p
